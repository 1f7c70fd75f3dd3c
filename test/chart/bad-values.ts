/** Values that the chart refuses, each as `--set` has it, and what the message must say. */
export const badValues: readonly { sets: readonly string[]; message: RegExp }[] = [
  { sets: ["managers.replicas=2"], message: /managers.*not allowed|additional properties 'managers'/ },
  { sets: ["manager.replica=2"], message: /\/manager.*additional properties 'replica'/ },
  {
    sets: ["agent.updateStrategy.maxSurge=1"],
    message: /\/agent\/updateStrategy.*additional properties 'maxSurge'/,
  },
  { sets: ["fullname=Slipway"], message: /\/fullname.*does not match pattern/ },
  { sets: ["manager.replicas=0"], message: /\/manager\/replicas.*minimum/ },
  { sets: ["manager.replicas=two"], message: /\/manager\/replicas.*got string, want integer/ },
  {
    sets: ["manager.webhookKeysSecret=Keys"],
    message: /\/manager\/webhookKeysSecret.*does not match pattern/,
  },
  { sets: ["networkPolicy.managerEgress=all"], message: /\/networkPolicy\/managerEgress.*want array/ },
  { sets: ["hooks.jobNamespaces[0]=Ops"], message: /\/hooks\/jobNamespaces\/0.*does not match pattern/ },
  { sets: ["hooks.namespaces[0]=ops"], message: /\/hooks.*additional properties 'namespaces'/ },
  { sets: ["gateway.replicas=21"], message: /\/gateway\/replicas.*maximum/ },
  {
    sets: ["gateway.machines.publicUrl=updates.example.org"],
    message: /\/gateway\/machines\/publicUrl.*does not match pattern/,
  },
  {
    sets: ["gateway.machines.payloads.hostPath=payloads"],
    message: /\/gateway\/machines\/payloads\/hostPath.*does not match pattern/,
  },
  {
    sets: ["gateway.machines.payloads.repository=registry.example.org/os"],
    message: /\/gateway\/machines\/payloads\/repository.*does not match pattern/,
  },
  {
    sets: ["gateway.machines.registry[0]=Fleet"],
    message: /\/gateway\/machines\/registry\/0.*does not match pattern/,
  },
  {
    sets: ["gateway.machines.registry[0]=fleet", "gateway.machines.registryPlainPort=70000"],
    message: /\/gateway\/machines\/registryPlainPort.*maximum/,
  },
  {
    sets: ["gateway.machines.registryPlainPort=2379"],
    message: /gateway\.machines\.registry: registryPlainPort and setMaxGroups are for clients of a key space/,
  },
  {
    sets: ["gateway.machines.setMaxGroups[0]=racks"],
    message: /gateway\.machines\.registry: registryPlainPort and setMaxGroups are for clients of a key space/,
  },
  {
    sets: ["gateway.machines.enabled=true", "gateway.machines.registry[0]=fleet"],
    message: /gateway\.machines\.keysSecret: without it a key space has no secret/,
  },
  {
    sets: ["gateway.machines.registry[0]=fleet", "gateway.machines.keysSecret=x"],
    message: /gateway\.machines\.enabled: registry is served on the machines' port/,
  },
  {
    sets: ["clientAuthorities=x", "tls=false"].map((each) => `gateway.machines.${each}`),
    message: /gateway\.machines\.clientAuthorities: certificates are shown in TLS/,
  },
  ...[
    ["enabled=true", "coreupdateSecret=x"],
    ["enabled=true", "payloads.claim=x"],
    ["coreupdateSecret=x", "payloads.claim=x"],
  ].map((others) => ({
    sets: ["payloads.uploads=true", ...others].map((each) => `gateway.machines.${each}`),
    message:
      /gateway\.machines\.payloads\.uploads: gateway\.machines\.enabled, coreupdateSecret, and payloads/,
  })),
  { sets: ["etcd.replicas=2"], message: /\/etcd\/replicas.*1, 3, 5/ },
  { sets: ["etcd.quotaBytes=1"], message: /\/etcd\/quotaBytes.*minimum/ },
  { sets: ["etcd.logLevel=loud"], message: /\/etcd\/logLevel.*'debug', 'info', 'warn', 'error'/ },
  { sets: ["etcd.persistence.size=big"], message: /\/etcd\/persistence\/size/ },
  {
    sets: ["etcd.external.endpoints[0]=etcd-0:2379"],
    message: /\/etcd\/external\/endpoints\/0.*does not match pattern/,
  },
  { sets: ["image.digest=latest"], message: /\/image\/digest.*does not match pattern/ },
  { sets: ["image.pullPolicy=Sometimes"], message: /\/image\/pullPolicy.*'Always', 'IfNotPresent', 'Never'/ },
  { sets: ["agent.driver=rauc"], message: /\/agent\/driver.*'sentinel', 'fastpatch'/ },
  { sets: ["agent.sentinel.file=reboot-required"], message: /\/agent\/sentinel\/file/ },
  {
    sets: ["agent.gateways[0]=gateway.example.org"],
    message: /\/agent\/gateways\/0.*does not match pattern/,
  },
  { sets: ["agent.updateStrategy.maxUnavailable=0%"], message: /\/agent\/updateStrategy\/maxUnavailable/ },
  {
    sets: ["agent.terminationGracePeriodSeconds=1"],
    message: /\/agent\/terminationGracePeriodSeconds.*minimum/,
  },
  {
    sets: ["agent.tolerations[0].operator=Matches"],
    message: /\/agent\/tolerations\/0\/operator.*'Exists', 'Equal'/,
  },
  {
    sets: ["certificates.mode=magic"],
    message: /\/certificates\/mode.*'generated', 'certManager', 'provided'/,
  },
  { sets: ["certificates.gatewayNames[0]=https://x"], message: /\/certificates\/gatewayNames\/0/ },
  { sets: ["gateway.service.type=ExternalName"], message: /\/gateway\/service\/type.*'ClusterIP'/ },
  { sets: ["networkPolicy.apiServerPorts[0]=70000"], message: /\/networkPolicy\/apiServerPorts\/0.*maximum/ },
  { sets: ["uninstall.deadline=soon"], message: /\/uninstall\/deadline.*does not match pattern/ },
  { sets: ["etcd.persistence.enabled=false"], message: /without volumes set etcd\.replicas to 1/ },
  {
    sets: ["etcd.external.endpoints[0]=https://etcd-0:2379"],
    message: /etcd\.external\.tlsSecret: https:\/\/etcd-0:2379 needs a Secret/,
  },
  {
    sets: ["etcd.external.endpoints[0]=http://etcd-0:2379", "etcd.external.tlsSecret=x"],
    message: /http:\/\/etcd-0:2379 is without TLS; write https/,
  },
  { sets: ["etcd.external.tlsSecret=x"], message: /etcd\.external\.endpoints: name the members/ },
  {
    sets: ["agent.driver=fastpatch"],
    message: /agent\.fastpatch\.disk: the driver fastpatch needs the disk/,
  },
  { sets: ["agent.sentinel.file="], message: /agent\.sentinel: give one of file and command/ },
  { sets: ["agent.sentinel.command=x"], message: /agent\.sentinel: give one of file and command/ },
  {
    sets: ["agent.sentinel.file=", "agent.sentinel.command=x"],
    message: /agent\.commandsFile: agent\.sentinel\.command is one of its commands/,
  },
  { sets: ["agent.host.kind=hook"], message: /agent\.host\.hook: the host kind hook needs the executable/ },
  {
    sets: ["gateway.console.enabled=true"],
    message: /gateway\.console\.keysSecret: sessions are sealed with a key/,
  },
  {
    sets: [
      "gateway.console.enabled=true",
      "gateway.console.keysSecret=x",
      "gateway.console.oidc.issuer=https://id.example.org",
    ],
    message: /gateway\.console: oidc\.issuer needs oidc\.clientId and url/,
  },
  {
    sets: ["gateway.console.ingress.enabled=true", "gateway.console.ingress.host=x.example.org"],
    message: /gateway\.console\.ingress: gateway\.console\.enabled and ingress\.host are needed/,
  },
  {
    sets: [
      ...["gateway.console.enabled=true", "gateway.console.keysSecret=x"],
      ...["gateway.console.ingress.enabled=true", "gateway.console.ingress.host=x.example.org"],
      "gateway.console.url=https://y.example.org",
    ],
    message: /gateway\.console\.url: its host is not x\.example\.org/,
  },
  {
    sets: ["gateway.console.ingress.host=https://x.example.org"],
    message: /\/gateway\/console\/ingress\/host.*does not match pattern/,
  },
  { sets: ["gateway.trustedProxies[0]=10.0.0.0/33"], message: /\/gateway\/trustedProxies\/0/ },
  {
    sets: ["gateway.console.url=http://slipway.example.org"],
    message: /\/gateway\/console\/url.*does not match pattern/,
  },
  {
    sets: ["gateway.ingress.enabled=true"],
    message: /gateway\.ingress\.host: the name that machines ask for/,
  },
  {
    sets: ["gateway.ingress.enabled=true", "gateway.ingress.host=x.example.org"],
    message: /certificates\.gatewayNames: add x\.example\.org/,
  },
  {
    sets: ["gateway.tlsRoute.enabled=true"],
    message: /gateway\.tlsRoute: parentRefs and hostnames are needed/,
  },
];
