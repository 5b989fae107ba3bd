{{/* What the chart decides of theramap's settings. */}}
{{- define "theramap.decided" -}}
gateway:
  data: /var/lib/theramap
  database: {{ include "theramap.databaseUrl" . | quote }}
  database_password_file: /run/secrets/theramap/database-password
  site_key_file: /run/secrets/theramap/site-key
  exchange: {{ .Values.exchange.s3.url | default "file:///exchange" | quote }}
  receiver:
    host: 0.0.0.0
    port: 11112
    {{- if .Values.receive.tls.existingSecret }}
    tls: {{- include "theramap.certificate" . | nindent 6 }}
    {{- end }}
    {{- if .Values.receive.stow.enabled }}
    stow:
      host: 0.0.0.0
      port: 8443
      tls: {{- include "theramap.certificate" . | nindent 8 }}
    {{- end }}
  console:
    host: 0.0.0.0
    port: 8080
{{- if .Values.work.models.existingClaim }}
models:
  folder: /models
{{- end }}
{{- end }}

{{- define "theramap.certificate" -}}
certificate: /run/secrets/receiver/tls.crt
key: /run/secrets/receiver/tls.key
ca: /run/secrets/receiver/ca.crt
{{- end }}

{{- define "theramap.databaseUrl" -}}
{{- /* A connection to a node that is gone ends within half a minute, not after hours. */}}
{{- if .Values.database.bundled.enabled }}
{{- $host := printf "%s-postgres" (include "theramap.fullname" .) }}
{{- printf "postgresql+psycopg://theramap@%s:5432/theramap?connect_timeout=10&tcp_user_timeout=30000" $host }}
{{- else }}{{ .Values.database.url }}{{ end }}
{{- end }}

{{/* The settings file: the site's settings and what the chart decides. */}}
{{- define "theramap.settings" -}}
{{- include "theramap.check" . }}
{{- toYaml (mustMergeOverwrite (deepCopy .Values.settings) (include "theramap.decided" . | fromYaml)) }}
{{- end }}

{{/* What cannot work, and what to do about it. */}}
{{- define "theramap.check" -}}
{{- $gateway := .Values.settings.gateway | default dict }}
{{- $instead := dict
  "data" "the chart decides it"
  "database" "use database.url"
  "database_password_file" "use database.existingSecret"
  "site_key_file" "use siteKey.existingSecret"
  "exchange" "use exchange.s3 or exchange.volume"
  "console" "the chart decides it" }}
{{- range $key, $remedy := $instead }}
{{- if hasKey $gateway $key }}{{ fail (printf "settings.gateway.%s: %s" $key $remedy) }}{{ end }}
{{- end }}
{{- $remedies := dict "host" "the chart decides it" "port" "use receive.service.port" "tls" "use receive.tls" "stow" "use receive.stow" }}
{{- range $key, $remedy := $remedies }}
{{- if hasKey ($gateway.receiver | default dict) $key }}{{ fail (printf "settings.gateway.receiver.%s: %s" $key $remedy) }}{{ end }}
{{- end }}
{{- if hasKey ($gateway.work | default dict) "name" }}
{{- fail "settings.gateway.work.name: every worker would have it; each takes the name of its pod" }}
{{- end }}
{{- range $gateway.ae_titles }}
{{- if eq (dig "priors" "via" "" .) "c-move" }}
{{- fail (printf "settings.gateway.ae_titles (%s): priors by c-move would come to the receiver's pod, not to the worker: use c-get or dicomweb" .title) }}
{{- end }}
{{- end }}
{{- include "theramap.checkPlaces" . }}
{{- end }}

{{- define "theramap.checkPlaces" -}}
{{- $database := .Values.database }}
{{- if and $database.bundled.enabled $database.url }}
{{- fail "database.url: a bundled database is enabled; set database.bundled.enabled to false, or leave url out" }}
{{- end }}
{{- if not $database.bundled.enabled }}
{{- if not $database.url }}{{ fail "database.url: name the database, since none is bundled" }}{{ end }}
{{- if not $database.existingSecret }}{{ fail "database.existingSecret: name the Secret that holds the database's password" }}{{ end }}
{{- end }}
{{- if and .Values.exchange.s3.url .Values.exchange.volume.existingClaim }}
{{- fail "exchange: give either s3.url or volume.existingClaim" }}
{{- end }}
{{- if and .Values.receive.stow.enabled (not .Values.receive.tls.existingSecret) }}
{{- fail "receive.stow: other machines reach it, so it needs a certificate: set receive.tls.existingSecret" }}
{{- end }}
{{- $gpu := gt (int .Values.work.gpu.count) 0 }}
{{- if and $gpu (eq (.Values.settings.device | default "auto") "cpu") }}
{{- fail "settings.device: cpu, but work.gpu.count asks for a GPU: leave one of them out" }}
{{- end }}
{{- if and (not $gpu) (eq (.Values.settings.device | default "auto") "cuda") }}
{{- fail "settings.device: cuda, but workers have no GPU: set work.gpu.count" }}
{{- end }}
{{- $scaling := .Values.work.autoscaling }}
{{- if gt (int $scaling.min) (int $scaling.max) }}{{ fail "work.autoscaling: min is greater than max" }}{{ end }}
{{- if .Values.networkPolicy.enabled }}
{{- if and (not $database.bundled.enabled) (not .Values.networkPolicy.database) }}
{{- fail "networkPolicy.database: say where your database is, or no pod can reach it" }}
{{- end }}
{{- if and .Values.exchange.s3.url (not .Values.networkPolicy.objectStore) }}
{{- fail "networkPolicy.objectStore: say where the object store is, or no pod can reach it" }}
{{- end }}
{{- end }}
{{- end }}
