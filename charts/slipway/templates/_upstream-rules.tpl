{{/* Only where channels follow other servers: what they offer becomes Releases, and where channels point. */}}
{{- define "slipway.managerUpstreamRules" -}}
- apiGroups: [slipway.dev]
  resources: [releases]
  verbs: [create]
- apiGroups: [slipway.dev]
  resources: [channels]
  verbs: [patch]
{{- end }}
