/** The plugin's manifest for krew (krew.googlecontainertools.github.com/v1alpha2). */

export interface Archive {
  /** As Go calls it: amd64, arm64. */
  architecture: string;
  /** Of the .tar.gz, in hex. */
  sha256: string;
}

const HOME = "https://github.com/slipway-dev/slipway";

export function krewManifest(version: string, archives: readonly Archive[]): object {
  return {
    apiVersion: "krew.googlecontainertools.github.com/v1alpha2",
    kind: "Plugin",
    metadata: { name: "slipway" },
    spec: {
      version: `v${version}`,
      homepage: HOME,
      shortDescription: "See and steer node updates and reboots",
      description: [
        "Slipway updates the operating systems of a cluster's nodes and reboots them a few at a time.",
        "This plugin shows what each node waits for and why, pauses, promotes and rolls back,",
        "frees slots, checks an installation, and reads the settings of kured, FLUO and brupop.",
        "",
      ].join("\n"),
      caveats: [
        "Run `kubectl slipway doctor` first: it says whether Slipway is installed in the cluster.",
        "For completion, put an executable kubectl_complete-slipway on the PATH that runs",
        '`kubectl slipway __complete "$@"`.',
        "",
      ].join("\n"),
      platforms: archives.map(({ architecture, sha256 }) => ({
        selector: { matchLabels: { os: "linux", arch: architecture } },
        uri: `${HOME}/releases/download/v${version}/kubectl-slipway_${version}_linux_${architecture}.tar.gz`,
        sha256,
        files: [
          { from: "kubectl-slipway", to: "." },
          { from: "LICENSE", to: "." },
        ],
        bin: "kubectl-slipway",
      })),
    },
  };
}
