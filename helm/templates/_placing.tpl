{{/*
Where a pod of this chart may run, and by what its images are pulled: `scheduling`, and over it what the component says.
Call with (list $ "component" values-of-the-component replicas). Of several replicas no two stand on one node or in one
zone where it can be helped.
*/}}
{{- define "credit-assets.placing" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $own := index . 2 -}}
{{- $nodes := dict -}}
{{- range $given := list $root.Values.scheduling.nodeSelector $own.nodeSelector -}}
{{- range $key, $value := $given -}}{{- $_ := set $nodes $key $value -}}{{- end -}}
{{- end -}}
{{- include "credit-assets.pullSecrets" $root }}
{{- with $nodes }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($root.Values.scheduling.tolerations | default list) ($own.tolerations | default list) }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if gt (int (index . 3)) 1 }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "credit-assets.selector" (list $root $component) | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The bundle of authorities that stand behind TLS here: variables of Python and Go, volume and mount. */}}
{{- define "credit-assets.caVariables" -}}
{{- $found := dict -}}
{{- if .Values.ca.enabled -}}
{{- range list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "AWS_CA_BUNDLE" -}}
{{- $_ := set $found . "/etc/credit-assets/ca/ca.crt" -}}
{{- end -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{- define "credit-assets.caEnv" -}}
{{- range $name, $value := include "credit-assets.caVariables" . | fromJson }}
- {name: {{ $name }}, value: {{ $value }}}
{{- end }}
{{- end -}}

{{- define "credit-assets.caMount" -}}
{{- if .Values.ca.enabled }}
- {name: ca, mountPath: /etc/credit-assets/ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "credit-assets.caVolume" -}}
{{- if .Values.ca.enabled }}
- {name: ca, configMap: {name: credit-assets-ca}}
{{- end }}
{{- end -}}
