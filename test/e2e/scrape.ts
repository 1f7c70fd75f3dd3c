/** The chart's ServiceMonitors and PodMonitors as Prometheus's own configuration, as the Prometheus operator translates them. */

interface Endpoint {
  port: string;
}

/** What our monitors use of the operator's kinds. */
export interface Monitor {
  kind: string;
  metadata: { name: string; namespace: string };
  spec: {
    selector: { matchLabels: Record<string, string> };
    endpoints?: Endpoint[];
    podMetricsEndpoints?: Endpoint[];
  };
}

export interface ScrapeConfig {
  job_name: string;
  kubernetes_sd_configs: object[];
  relabel_configs: object[];
}

/** Where discovery tells a port's name, by the role that finds it. */
const PORT_NAMES = {
  endpointslice: "__meta_kubernetes_endpointslice_port_name",
  pod: "__meta_kubernetes_pod_container_port_name",
};

export function scrapeConfigs(monitors: readonly Monitor[], kubeconfig: string): ScrapeConfig[] {
  return monitors.flatMap(({ kind, metadata, spec }) => {
    const [role, labelled, endpoints] =
      kind === "ServiceMonitor"
        ? (["endpointslice", "service", spec.endpoints] as const)
        : (["pod", "pod", spec.podMetricsEndpoints] as const);
    return (endpoints ?? []).map(({ port }, index) => ({
      job_name: `${kind}/${metadata.namespace}/${metadata.name}/${index}`,
      kubernetes_sd_configs: [
        { role, kubeconfig_file: kubeconfig, namespaces: { names: [metadata.namespace] } },
      ],
      relabel_configs: [
        ...Object.entries(spec.selector.matchLabels).map(([label, value]) =>
          keep(`__meta_kubernetes_${labelled}_label_${label.replaceAll(/[^a-zA-Z0-9_]/g, "_")}`, value),
        ),
        keep(PORT_NAMES[role], port),
        copy("__meta_kubernetes_namespace", "namespace"),
        copy("__meta_kubernetes_pod_name", "pod"),
        { target_label: "job", replacement: `${metadata.namespace}/${metadata.name}` },
      ],
    }));
  });
}

function keep(source: string, value: string): object {
  return { action: "keep", source_labels: [source], regex: value.replaceAll(".", "\\.") };
}

function copy(source: string, target: string): object {
  return { source_labels: [source], target_label: target };
}
