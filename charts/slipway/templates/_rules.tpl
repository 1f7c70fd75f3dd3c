{{/* Rules of the roles: nothing to spare. */}}

{{- define "slipway.managerRules" -}}
- apiGroups: [slipway.dev]
  resources: [releases, channels, rebootbudgets, rebootwindows]
  verbs: [list, watch]
- apiGroups: [slipway.dev]
  resources: [updategroups]
  verbs: [list, watch, patch]
- apiGroups: [slipway.dev]
  resources: [nodeupdates]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [slipway.dev]
  resources:
    - releases/status
    - channels/status
    - updategroups/status
    - rebootbudgets/status
    - rebootwindows/status
    - nodeupdates/status
  verbs: [patch]
# Cordons.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# A manager that is newer than they are does not lead.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get]
  resourceNames:
    - channels.slipway.dev
    - nodeupdates.slipway.dev
    - rebootbudgets.slipway.dev
    - rebootwindows.slipway.dev
    - releases.slipway.dev
    - updategroups.slipway.dev
{{- end }}

{{- define "slipway.managerOwnRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, update]
  resourceNames: [slipway-manager]
# Of the Lease, where etcd is away.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "slipway.managerLeaseRules" -}}
# A kubelet that renewed its Lease since the boot is one that came back.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get]
{{- end }}

{{- define "slipway.managerHookRules" -}}
# Jobs of hooks, from templates that somebody put there.
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, delete]
{{- end }}

{{- define "slipway.managerEventRules" -}}
# Events of objects without a namespace lie in "default".
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "slipway.gatewayRules" -}}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}

{{- define "slipway.uninstallRules" -}}
- apiGroups: [slipway.dev]
  resources: [updategroups, nodeupdates]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, patch]
{{- end }}

{{- define "slipway.uninstallOwnRules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, patch]
  resourceNames: [{{ .root.Values.fullname }}-manager]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get]
  resourceNames: [slipway-manager]
{{- end }}

{{- define "slipway.testRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get]
  resourceNames: [slipway-manager]
{{- end }}
