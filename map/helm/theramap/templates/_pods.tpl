{{/* What every pod has: the restricted profile of the Pod Security Standards. Takes (dict root user). */}}
{{- define "theramap.podSecurity" -}}
serviceAccountName: {{ include "theramap.fullname" .root }}
automountServiceAccountToken: false
# Variables for services would look like settings: THERAMAP_PORT.
enableServiceLinks: false
# The pod's first process is then not the role's: such a one would ignore a SIGTERM while it is still starting.
shareProcessNamespace: true
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "theramap.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where pods of a role may and must run. Takes the role's values. */}}
{{- define "theramap.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What makes pods start anew when it changes. */}}
{{- define "theramap.podAnnotations" -}}
checksum/settings: {{ include "theramap.settings" . | sha256sum }}
{{- end }}

{{- define "theramap.environment" -}}
- {name: THERAMAP_SETTINGS, value: /etc/theramap/theramap.yaml}
- {name: HOME, value: /tmp}
{{- with .Values.exchange.s3 }}
{{- if .url }}
{{- if .endpoint }}
- {name: AWS_ENDPOINT_URL_S3, value: {{ .endpoint | quote }}}
{{- end }}
{{- if .region }}
- {name: AWS_DEFAULT_REGION, value: {{ .region | quote }}}
{{- end }}
{{- if .ca }}
- {name: AWS_CA_BUNDLE, value: {{ .ca | quote }}}
{{- end }}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: access-key}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: secret-key}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What each container of theramap sees; its data folder comes beside it. */}}
{{- define "theramap.mounts" -}}
- {name: settings, mountPath: /etc/theramap, readOnly: true}
- {name: keys, mountPath: /run/secrets/theramap, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if not .Values.exchange.s3.url }}
- {name: exchange, mountPath: /exchange}
{{- end }}
{{- range .Values.secrets }}
- {name: secret-{{ .name }}, mountPath: /run/secrets/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "theramap.volumes" -}}
- name: settings
  configMap: {name: {{ include "theramap.fullname" . }}}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "theramap.databaseSecret" . }}
          items: [{key: {{ .Values.database.key }}, path: database-password}]
      - secret:
          name: {{ .Values.siteKey.existingSecret | default (include "theramap.fullname" .) }}
          items: [{key: {{ .Values.siteKey.key }}, path: site-key}]
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- if not .Values.exchange.s3.url }}
- name: exchange
  persistentVolumeClaim:
    claimName: {{ .Values.exchange.volume.existingClaim | default (printf "%s-exchange" (include "theramap.fullname" .)) }}
{{- end }}
{{- range .Values.secrets }}
- name: secret-{{ .name }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* A role that has a pulse and no port. Takes (dict role limit). */}}
{{- define "theramap.pulseProbes" -}}
startupProbe:
  exec: {command: [/opt/holoscan/app/tools, alive, {{ .role }}=30]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 120
livenessProbe:
  exec: {command: [/opt/holoscan/app/tools, alive, {{ .role }}=180]}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
