{{/* Labels of everything; `component` tells them apart. Call with (list $ "component"). */}}
{{- define "credit-assets.labels" -}}
{{- $root := index . 0 -}}
{{ include "credit-assets.selector" . }}
app.kubernetes.io/part-of: credit-assets
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "credit-assets.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: credit-assets
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The name that the Dagster chart gives its webserver's Deployment and Service. */}}
{{- define "credit-assets.webserver" -}}
{{ printf "%s-dagster-webserver" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "credit-assets.image" -}}
{{ printf "%s:%s" .Values.image.repository .Values.image.tag }}
{{- end -}}

{{- define "credit-assets.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "credit-assets.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "credit-assets.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* S3 of the trial, for whoever talks to it. */}}
{{- define "credit-assets.trialEnv" -}}
{{- if .Values.trial.enabled }}
- name: AWS_ENDPOINT_URL
  value: http://credit-assets-object-store:9000
- name: AWS_DEFAULT_REGION
  value: us-east-1
{{- end }}
{{- end -}}
