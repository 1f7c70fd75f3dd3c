{{/* What CoreUpdate's API reads and writes for people, after it asked whether RBAC lets them. */}}
{{- define "slipway.coreupdateRules" -}}
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
- apiGroups: [slipway.dev]
  resources: [releases, channels, updategroups, rebootbudgets, rebootwindows, nodeupdates]
  verbs: [get, list, watch]
- apiGroups: [slipway.dev]
  resources: [releases, channels, updategroups]
  verbs: [create, patch, delete]
{{- end }}
