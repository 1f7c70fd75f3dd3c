{{/* Parts of NetworkPolicies and monitors. */}}

{{- define "slipway.dnsEgress" -}}
- ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end }}

{{- define "slipway.apiServerEgress" -}}
# The API server has no label to be told by.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end }}

{{- define "slipway.metricsIngress" -}}
- ports:
    - { protocol: TCP, port: metrics }
  {{- with .Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "slipway.monitorMetadata" -}}
name: {{ include "slipway.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "slipway.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
