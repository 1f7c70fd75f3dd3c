{{/* What CoreUpdate's API reads and writes for people, who are asked for their own rights before each of it. */}}
{{- define "slipway.coreupdateRules" -}}
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
- apiGroups: [slipway.dev]
  resources: [releases, channels, updategroups, rebootwindows, rebootbudgets, nodeupdates]
  verbs: [list, watch]
- apiGroups: [slipway.dev]
  resources: [releases, channels, updategroups]
  verbs: [get, create, patch, delete]
{{- end }}
