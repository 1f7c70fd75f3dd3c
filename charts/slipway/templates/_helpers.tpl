{{/* Labels and names; every template gets a dict of the root context and a component. */}}

{{- define "slipway.name" -}}
{{ .root.Values.fullname }}-{{ .component }}
{{- end }}

{{/* Gateways are found by app.kubernetes.io/name: it does not change with the fullname. */}}
{{- define "slipway.selector" -}}
app.kubernetes.io/name: slipway-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "slipway.metadata" -}}
name: {{ include "slipway.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "slipway.labels" . | nindent 2 }}
{{- end }}

{{/* No version: a new one of the chart must not restart what it does not change, etcd above all. */}}
{{- define "slipway.podLabels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: slipway
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "slipway.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels:
  {{- include "slipway.podLabels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image's name from repository, tag or digest. */}}
{{- define "slipway.reference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end }}

{{- define "slipway.image" -}}
{{- $image := .root.Values.image -}}
{{- include "slipway.reference" (dict "repository" $image.repository "digest" $image.digest "tag" ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{/* What the "restricted" level of Pod Security asks for, and a user of the image's own. */}}
{{- define "slipway.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- include "slipway.pullSecrets" . }}
{{- end }}

{{- define "slipway.pullSecrets" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "slipway.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Where the Pods of a component go. */}}
{{- define "slipway.placement" -}}
{{- $values := index .root.Values .component -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: {{ $values.spread }}
    labelSelector:
      matchLabels:
        {{- include "slipway.selector" $ | nindent 8 }}
  {{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "slipway.etcdEmbedded" -}}
{{- if not .root.Values.etcd.external.endpoints }}true{{ end -}}
{{- end }}

{{/* By the members' own names: the client goes from one to the next, and a Service would hide which one is sick. */}}
{{- define "slipway.etcdEndpoints" -}}
{{- if include "slipway.etcdEmbedded" . -}}
{{- $service := printf "%s-etcd" .root.Values.fullname -}}
{{- range $i := until (int .root.Values.etcd.replicas) -}}
{{- if $i }},{{ end }}https://{{ $service }}-{{ $i }}.{{ $service }}.{{ $.root.Release.Namespace }}.svc:2379
{{- end -}}
{{- else -}}
{{ join "," .root.Values.etcd.external.endpoints }}
{{- end -}}
{{- end }}

{{- define "slipway.etcdSecret" -}}
{{- if include "slipway.etcdEmbedded" . }}{{ .root.Values.fullname }}-etcd-client{{ else }}{{ .root.Values.etcd.external.tlsSecret }}{{ end -}}
{{- end }}

{{- define "slipway.etcdArgs" -}}
- --etcd={{ include "slipway.etcdEndpoints" . }}
{{- if include "slipway.etcdSecret" . }}
- --etcd-ca=/etc/slipway/etcd/ca.crt
- --etcd-cert=/etc/slipway/etcd/tls.crt
- --etcd-key=/etc/slipway/etcd/tls.key
{{- end }}
{{- end }}

{{- define "slipway.etcdMount" -}}
{{- if include "slipway.etcdSecret" . }}
- name: etcd
  mountPath: /etc/slipway/etcd
  readOnly: true
{{- end }}
{{- end }}

{{- define "slipway.etcdVolume" -}}
{{- with include "slipway.etcdSecret" . }}
- name: etcd
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{/* Keys of webhooks are read anew for each notice, so they may be changed in place. */}}
{{- define "slipway.managerMounts" -}}
{{- include "slipway.etcdMount" . }}
{{- if .root.Values.manager.webhookKeysSecret }}
- name: webhook-keys
  mountPath: /etc/slipway/webhook-keys
  readOnly: true
{{- end }}
{{- if .root.Values.manager.upstreamUrlsSecret }}
- name: upstream-urls
  mountPath: /etc/slipway/upstream-urls
  readOnly: true
{{- end }}
{{- end }}

{{- define "slipway.managerVolumes" -}}
{{- include "slipway.etcdVolume" . }}
{{- with .root.Values.manager.webhookKeysSecret }}
- name: webhook-keys
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with .root.Values.manager.upstreamUrlsSecret }}
- name: upstream-urls
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{/* What manager and gateway need of etcd: its members, or the ports of one of yours. */}}
{{- define "slipway.etcdEgress" -}}
{{- if include "slipway.etcdEmbedded" . }}
- ports:
    - { protocol: TCP, port: 2379 }
  to:
    - podSelector:
        matchLabels:
          {{- include "slipway.selector" (dict "root" .root "component" "etcd") | nindent 10 }}
{{- else }}
- ports:
    {{- $ports := list }}
    {{- range .root.Values.etcd.external.endpoints }}
    {{- $ports = append $ports (regexFind "[0-9]+$" .) }}
    {{- end }}
    {{- range uniq $ports }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end }}
{{- end }}

{{/* Arguments of `slipway certificates`. */}}
{{- define "slipway.certificatesArgs" -}}
- certificates
- --namespace={{ .root.Release.Namespace }}
- --fullname={{ .root.Values.fullname }}
- --cluster-domain={{ .root.Values.clusterDomain }}
{{- if include "slipway.etcdEmbedded" . }}
- --etcd-members={{ .root.Values.etcd.replicas }}
{{- end }}
{{- range .root.Values.certificates.gatewayNames }}
- --gateway-name={{ . }}
{{- end }}
{{- if eq .root.Values.certificates.mode "certManager" }}
- --publish-only
{{- end }}
{{- end }}

{{/* Names of the Secrets that `slipway certificates` may read and replace. */}}
{{- define "slipway.certificateSecrets" -}}
{{- $names := list "ca" "gateway-tls" -}}
{{- if include "slipway.etcdEmbedded" . -}}
{{- $names = concat $names (list "etcd-ca" "etcd-server" "etcd-peer" "etcd-client") -}}
{{- end -}}
{{- range $i, $name := $names }}
{{- if $i }}
{{ end }}- {{ $.root.Values.fullname }}-{{ $name }}
{{- end }}
{{- end }}

{{/* Rules of `slipway certificates`; `create` can't be bound to names. */}}
{{- define "slipway.certificatesRules" -}}
{{- if ne .root.Values.certificates.mode "certManager" }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, update]
  resourceNames:
    {{- include "slipway.certificateSecrets" . | nindent 4 }}
{{- else }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
  resourceNames: [{{ .root.Values.fullname }}-gateway-tls]
{{- end }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, update]
  resourceNames: [{{ .root.Values.fullname }}-gateway-ca]
{{- end }}

{{/* The Pod template of a Job that runs a role and ends. */}}
{{- define "slipway.jobPod" -}}
metadata:
  labels:
    {{- include "slipway.podLabels" . | nindent 4 }}
spec:
  restartPolicy: {{ .restartPolicy | default "Never" }}
  serviceAccountName: {{ .serviceAccount }}
  {{- include "slipway.podSecurity" . | nindent 2 }}
  tolerations:
    - operator: Exists
      effect: NoSchedule
  containers:
    - name: {{ .component }}
      image: {{ include "slipway.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- .args | nindent 8 }}
      {{- include "slipway.containerSecurity" . | nindent 6 }}
      resources:
        requests: { cpu: 20m, memory: 96Mi }
        limits: { memory: 256Mi }
      {{- with .mounts }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
  {{- with .volumes }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A ServiceAccount, a Role or ClusterRole with `rules`, and the binding. `hook`: annotations. */}}
{{- define "slipway.account" -}}
{{- $name := include "slipway.name" . -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "slipway.metadata" . | nindent 2 }}
  {{- with .hook }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "slipway.role" -}}
{{- $name := .roleName | default (include "slipway.name" .) -}}
{{- $namespace := .namespace | default .root.Release.Namespace -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind | default "Role" }}
metadata:
  name: {{ $name }}
  {{- if ne .kind "ClusterRole" }}
  namespace: {{ $namespace }}
  {{- end }}
  labels:
    {{- include "slipway.labels" . | nindent 4 }}
  {{- with .hook }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind | default "Role" }}Binding
metadata:
  name: {{ $name }}
  {{- if ne .kind "ClusterRole" }}
  namespace: {{ $namespace }}
  {{- end }}
  labels:
    {{- include "slipway.labels" . | nindent 4 }}
  {{- with .hook }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind | default "Role" }}
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "slipway.name" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* What no schema can say of two values at once. */}}
{{- define "slipway.validate" -}}
{{- $v := .Values -}}
{{- $external := $v.etcd.external -}}
{{- if and (not $v.etcd.persistence.enabled) (gt (int $v.etcd.replicas) 1) (not $external.endpoints) }}
{{- fail "etcd.persistence.enabled: a member that comes back without its data breaks a cluster of several; without volumes set etcd.replicas to 1 (for trials)" }}
{{- end }}
{{- range $external.endpoints }}
{{- if and (hasPrefix "https:" .) (not $external.tlsSecret) }}
{{- fail (printf "etcd.external.tlsSecret: %s needs a Secret with ca.crt, tls.crt and tls.key" .) }}
{{- end }}
{{- if and (hasPrefix "http:" .) $external.tlsSecret }}
{{- fail (printf "etcd.external.endpoints: %s is without TLS; write https://, or leave etcd.external.tlsSecret empty" .) }}
{{- end }}
{{- end }}
{{- if and $external.tlsSecret (not $external.endpoints) }}
{{- fail "etcd.external.endpoints: name the members that etcd.external.tlsSecret is for" }}
{{- end }}
{{- with $v.agent }}
{{- if .enabled }}
{{- if and (eq .driver "fastpatch") (not .fastpatch.disk) }}
{{- fail "agent.fastpatch.disk: the driver fastpatch needs the disk with slots and state, such as /dev/sda" }}
{{- end }}
{{- if and (eq .driver "sentinel") (eq (empty .sentinel.file) (empty .sentinel.command)) }}
{{- fail "agent.sentinel: give one of file and command; the default file is taken away by file: \"\"" }}
{{- end }}
{{- if and (eq .driver "sentinel") .sentinel.command (not .commandsFile) }}
{{- fail "agent.commandsFile: agent.sentinel.command is one of its commands" }}
{{- end }}
{{- if and (eq .host.kind "hook") (not .host.hook) }}
{{- fail "agent.host.hook: the host kind hook needs the executable" }}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.gateway.machines }}
{{- if and (or .registryPlainPort .setMaxGroups) (not .registry) }}
{{- fail "gateway.machines.registry: registryPlainPort and setMaxGroups are for clients of a key space; name one" }}
{{- end }}
{{- if and .registry (not .keysSecret) (not .registryPlainPort) (not .clientAuthorities) }}
{{- fail "gateway.machines.keysSecret: without it a key space has no secret, and nobody gets in; or set registryPlainPort or clientAuthorities" }}
{{- end }}
{{- if and .registry (not .enabled) }}
{{- fail "gateway.machines.enabled: registry is served on the machines' port" }}
{{- end }}
{{- if and .clientAuthorities (not .tls) }}
{{- fail "gateway.machines.clientAuthorities: certificates are shown in TLS, and gateway.machines.tls is false" }}
{{- end }}
{{- if and .payloads.uploads (not (and .enabled .coreupdateSecret (or .payloads.claim .payloads.hostPath))) }}
{{- fail "gateway.machines.payloads.uploads: gateway.machines.enabled, coreupdateSecret, and payloads.claim or payloads.hostPath are needed" }}
{{- end }}
{{- end }}
{{- with $v.gateway.console }}
{{- if and .enabled (not .keysSecret) }}
{{- fail "gateway.console.keysSecret: sessions are sealed with a key that all gateways share" }}
{{- end }}
{{- if .ingress.enabled }}
{{- if or (not .enabled) (not .ingress.host) }}
{{- fail "gateway.console.ingress: gateway.console.enabled and ingress.host are needed" }}
{{- end }}
{{- if and .url (ne (urlParse .url).hostname .ingress.host) }}
{{- fail (printf "gateway.console.url: its host is not %s, that of ingress.host" .ingress.host) }}
{{- end }}
{{- end }}
{{- if and .enabled .oidc.issuer (or (not .oidc.clientId) (not (or .url .ingress.enabled))) }}
{{- fail "gateway.console: oidc.issuer needs oidc.clientId and url, to which people come back" }}
{{- end }}
{{- end }}
{{- if and $v.gateway.ingress.enabled (not $v.gateway.ingress.host) }}
{{- fail "gateway.ingress.host: the name that machines ask for, by which TLS is passed through" }}
{{- end }}
{{- if and $v.gateway.tlsRoute.enabled (or (not $v.gateway.tlsRoute.parentRefs) (not $v.gateway.tlsRoute.hostnames)) }}
{{- fail "gateway.tlsRoute: parentRefs and hostnames are needed" }}
{{- end }}
{{- range (concat (list $v.gateway.ingress.host | compact) $v.gateway.tlsRoute.hostnames) }}
{{- if and (ne $v.certificates.mode "provided") (not (has . $v.certificates.gatewayNames)) }}
{{- fail (printf "certificates.gatewayNames: add %s, or machines refuse the gateway's certificate" .) }}
{{- end }}
{{- end }}
{{- end }}
