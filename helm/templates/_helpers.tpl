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

{{/*
The code locations, as JSON: one for each of `portfolios`, or the one that the values themselves describe. Each has what
the values say with its own over it. Not by `merge`, which takes an empty value (0, false, "") for none.
*/}}
{{- define "credit-assets.locations" -}}
{{- $found := list -}}
{{- $names := dict -}}
{{- range $own := .Values.portfolios | default (list dict) -}}
{{- $name := $own.name | default "" -}}
{{- if hasKey $names $name -}}{{- fail (printf "portfolios: %s stands there twice" $name) -}}{{- end -}}
{{- $_ := set $names $name true -}}
{{- $settings := dict -}}
{{- range $given := list $.Values.settings $own.settings -}}
{{- range $key, $value := $given -}}{{- $_ := set $settings $key $value -}}{{- end -}}
{{- end -}}
{{- $secrets := dict -}}
{{- range $given := list $.Values.secrets $own.secrets -}}
{{- range $key, $value := $given -}}{{- $_ := set $secrets $key $value -}}{{- end -}}
{{- end -}}
{{- $steps := dict -}}
{{- range $given := list $.Values.stepProfiles $own.stepProfiles -}}
{{- range $key, $value := $given -}}{{- $_ := set $steps $key $value -}}{{- end -}}
{{- end -}}
{{- $profiles := dict -}}
{{- range $given := list $.Values.profiles $own.profiles -}}
{{- range $profile, $fields := $given -}}
{{- $kept := get $profiles $profile | default dict -}}
{{- range $key, $value := $fields -}}{{- $_ := set $kept $key $value -}}{{- end -}}
{{- $_ := set $profiles $profile $kept -}}
{{- end -}}
{{- end -}}
{{- $file := $own.file | default "" -}}
{{- if $file -}}
{{- $read := fromYaml $file -}}
{{- if and $name (ne ($read.name | default "") $name) -}}
{{- fail (printf "portfolios: the file of %s has the name %s: both have to be the same" $name ($read.name | default "none")) -}}
{{- end -}}
{{- else if not (or (not $name) (eq $name "consumer_loans") (hasKey $settings "CREDIT_PORTFOLIO")) -}}
{{- fail (printf "portfolios: %s needs its portfolio file (file:, or CREDIT_PORTFOLIO in its settings)" $name) -}}
{{- end -}}
{{- $suffix := ternary (printf "-%s" ($name | replace "_" "-")) "" (ne $name "") -}}
{{- $plain := or (not $name) (eq $name "consumer_loans") -}}
{{- $pools := dict -}}
{{- range $pool, $limit := ($own.pools | default $.Values.pools) -}}
{{- $_ := set $pools (ternary $pool (printf "%s_%s" $name $pool) $plain) $limit -}}
{{- end -}}
{{- $found = append $found (dict
  "portfolio" $name "suffix" $suffix "location" ($name | default "credit-assets") "file" $file
  "settings" $settings "secrets" $secrets "profiles" $profiles "stepProfiles" $steps "pools" $pools
  "quota" ($own.quota | default dict) "costCentre" ($own.costCentre | default $.Values.costCentre)
) -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{/* What pods of a location have in their environment that is no secret. Call with (list $ location). */}}
{{- define "credit-assets.settings" -}}
{{- $root := index . 0 -}}
{{- $at := index . 1 -}}
{{- $data := dict -}}
{{- /* Not toString, which writes a million as 1e+06. */ -}}
{{- range $key, $value := $at.settings -}}
{{- $_ := set $data $key (kindIs "string" $value | ternary $value (toJson $value)) -}}
{{- end -}}
{{- if $at.file -}}
{{- $_ := set $data "CREDIT_PORTFOLIO" (printf "/opt/credit-assets/portfolio/%s.yaml" ($at.portfolio | default "portfolio")) -}}
{{- else if and $at.portfolio (not (hasKey $data "CREDIT_PORTFOLIO")) -}}
{{- $_ := set $data "CREDIT_PORTFOLIO" $at.portfolio -}}
{{- end -}}
{{- if $at.profiles -}}{{- $_ := set $data "CREDIT_PROFILES" (include "credit-assets.profiles" .) -}}{{- end -}}
{{- if $at.stepProfiles -}}{{- $_ := set $data "CREDIT_STEP_PROFILES" (toJson $at.stepProfiles) -}}{{- end -}}
{{- if $at.costCentre -}}{{- $_ := set $data "CREDIT_COST_CENTRE" $at.costCentre -}}{{- end -}}
{{- $steps := dict -}}
{{- range $need, $secret := dict "warehouse" $at.secrets.warehouse "mlflow" $at.secrets.mlflowLogin "assignment" $at.secrets.assignment -}}
{{- if $secret -}}{{- $_ := set $steps $need $secret -}}{{- end -}}
{{- end -}}
{{- $_ := set $data "CREDIT_STEP_GRANTS" (toJson $steps) -}}
{{- $_ := set $data "CREDIT_STEP_SERVICE_ACCOUNT" "credit-assets-step" -}}
{{- /* Over it comes the Secret of whoever reads the warehouse; the others would take the embedded one, and find it empty. */ -}}
{{- $_ := set $data "CREDIT_WAREHOUSE_URL" "withheld://" -}}
{{- if $root.Values.mlflow.enabled -}}
{{- $_ := set $data "MLFLOW_TRACKING_URI" (printf "http://credit-assets-mlflow:%d" (int $root.Values.mlflow.port)) -}}
{{- end -}}
{{- if $root.Values.dask.enabled -}}
{{- $_ := set $data "CREDIT_DASK_SCHEDULER" (printf "tcp://credit-assets-dask:%d" (int $root.Values.dask.port)) -}}
{{- end -}}
{{- $_ := set $data "MLFLOW_DISABLE_TELEMETRY" "true" -}}
{{- $_ := set $data "DO_NOT_TRACK" "1" -}}
{{- range $key, $value := include "credit-assets.caVariables" $root | fromJson -}}{{- $_ := set $data $key $value -}}{{- end -}}
{{- /* The root file system is read-only. */ -}}
{{- $_ := set $data "HOME" "/tmp" -}}
{{- if $root.Values.trial.enabled -}}
{{- $_ := set $data "AWS_ENDPOINT_URL" "http://credit-assets-object-store:9000" -}}
{{- $_ := set $data "AWS_DEFAULT_REGION" "us-east-1" -}}
{{- end -}}
{{ toJson $data }}
{{- end -}}

{{/* Named by what it holds: other settings have another name, and pods that began with these keep them. */}}
{{- define "credit-assets.settingsName" -}}
{{- printf "credit-assets-settings%s-%s" (index . 1).suffix (include "credit-assets.settings" . | sha256sum | trunc 10) -}}
{{- end -}}

{{- define "credit-assets.portfolioName" -}}
{{- printf "credit-assets-portfolio%s-%s" (index . 1).suffix ((index . 1).file | sha256sum | trunc 10) -}}
{{- end -}}

{{- define "credit-assets.portfolioVolume" -}}
- name: portfolio
  configMap: {name: {{ include "credit-assets.portfolioName" . }}}
{{- end -}}

{{- define "credit-assets.portfolioMount" -}}
- name: portfolio
  mountPath: /opt/credit-assets/portfolio
  readOnly: true
{{- end -}}

{{/*
What the pods of a run have, and with it each of its steps: written on the run when it is asked for, so that an upgrade
changes nothing for a run that waits or works. Steps get their account and more secrets by CREDIT_STEP_*.
*/}}
{{- define "credit-assets.runContext" -}}
{{- $at := index . 1 -}}
{{- $context := dict "env_config_maps" (list (include "credit-assets.settingsName" .)) "service_account_name" "credit-assets-run" -}}
{{- with (index . 0).Values.imagePullSecrets -}}{{- $_ := set $context "image_pull_secrets" . -}}{{- end -}}
{{- /* For the launcher, which has settings of no location. */ -}}
{{- with $at.settings.CREDIT_PENDING_MINUTES -}}
{{- $annotations := dict "credit-assets/pending-minutes" (toString .) -}}
{{- $_ := set $context "run_k8s_config" (dict "job_metadata" (dict "annotations" $annotations)) -}}
{{- end -}}
{{- if $at.secrets.objectStore -}}{{- $_ := set $context "env_secrets" (list $at.secrets.objectStore) -}}{{- end -}}
{{- if $at.file -}}
{{- $_ := set $context "volumes" (include "credit-assets.portfolioVolume" . | fromYamlArray) -}}
{{- $_ := set $context "volume_mounts" (include "credit-assets.portfolioMount" . | fromYamlArray) -}}
{{- end -}}
{{ toJson (dict "k8s" $context) }}
{{- end -}}

{{/* Settings and secrets of whoever does all that the command line does. Call with (list $ location). */}}
{{- define "credit-assets.everything" -}}
{{- $at := index . 1 -}}
- configMapRef: {name: {{ include "credit-assets.settingsName" . }}}
{{- range $secret := list $at.secrets.objectStore $at.secrets.warehouse $at.secrets.mlflowLogin $at.secrets.alerts $at.secrets.assignment }}
{{- if $secret }}
- secretRef: {name: {{ $secret }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "credit-assets.postgresqlPassword" -}}
- name: DAGSTER_PG_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .Values.secrets.postgresql }}, key: postgresql-password}
{{- end -}}

{{/* The ConfigMap of Dagster's instance: the official chart's, or without it the one of the migrations. */}}
{{- define "credit-assets.instanceName" -}}
{{ if .Values.dagster.enabled }}credit-assets-dagster-instance{{ else }}credit-assets-migrations{{ end }}
{{- end -}}
