{{/* What `locksmithctl set-max` changes: the groups that are named, and no other. */}}
{{- define "slipway.setMaxRules" -}}
- apiGroups: [slipway.dev]
  resources: [updategroups]
  verbs: [get, patch]
  resourceNames:
    {{- toYaml .root.Values.gateway.machines.setMaxGroups | nindent 4 }}
{{- end }}
