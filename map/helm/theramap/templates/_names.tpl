{{- define "theramap.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-theramap" .Release.Name) (contains "theramap" .Release.Name) }}
{{- if gt (len $name) 40 }}{{ fail (printf "release name %s is too long: names of pods would not fit" .Release.Name) }}{{ end }}
{{- $name }}
{{- end }}

{{/* What a component is found by. Takes (list CONTEXT COMPONENT). */}}
{{- define "theramap.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: theramap
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "theramap.labels" -}}
{{- $ := index . 0 -}}
{{ include "theramap.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version }}
{{- end }}

{{/* name, namespace and labels. Takes (list CONTEXT COMPONENT SUFFIX). */}}
{{- define "theramap.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "theramap.fullname" $ }}{{ with index . 2 }}-{{ . }}{{ end }}
namespace: {{ $.Release.Namespace }}
labels: {{- include "theramap.labels" (list $ (index . 1)) | nindent 2 }}
{{- end }}

{{/* An image by digest or tag. Takes (dict repository tag digest). */}}
{{- define "theramap.reference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "theramap.image" -}}
{{- $tag := .Values.image.tag | default (printf "%s-cpu" .Chart.AppVersion) }}
{{- include "theramap.reference" (dict "repository" .Values.image.repository "tag" $tag "digest" .Values.image.digest) }}
{{- end }}

{{/* The workers' image: their own, or the gpu variant where they have GPUs, or that of all. */}}
{{- define "theramap.workImage" -}}
{{- $own := .Values.work.image }}
{{- $gpu := gt (int .Values.work.gpu.count) 0 }}
{{- $tag := .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion (ternary "gpu" "cpu" $gpu)) }}
{{- $digest := ternary "" .Values.image.digest $gpu }}
{{- if and $gpu (or .Values.image.tag .Values.image.digest) (not (or $own.tag $own.digest)) }}
{{- fail "work.gpu: image.tag or image.digest names the image of the other roles: name that of the gpu variant in work.image" }}
{{- end }}
{{- if $own.tag }}{{ $digest = "" }}{{ end }}
{{- include "theramap.reference" (dict "repository" .Values.image.repository "tag" ($own.tag | default $tag) "digest" ($own.digest | default $digest)) }}
{{- end }}

{{- define "theramap.databaseSecret" -}}
{{- .Values.database.existingSecret | default (include "theramap.fullname" .) }}
{{- end }}

{{- define "theramap.stopGrace" -}}
{{- dig "gateway" "stop_grace_s" 60 .Values.settings | int }}
{{- end }}
