/**
 * An update check as a server sends it that follows another one. It is Nebraska's: by version and install source a server
 * knows that no machine asks, and by the braces of its machine id Nebraska leaves it out of its counts.
 */

/** Version of the updater by which such a server is known. */
export const FOLLOWER = "CoreOSUpdateEngine-0.1.0.0";

export interface Ask {
  product: string;
  track: string;
  /** As Omaha writes an architecture, such as `amd64-usr`. */
  board: string;
  /** From which the next step is asked for; 0.0.0 for the first. */
  version: string;
  /** A UUID; always the same for one channel and architecture. */
  machineId: string;
}

/** No ping and no event: what is not there is not counted. */
export function renderAsk({ product, track, board, version, machineId }: Ask): string {
  const appId = /^[0-9a-f-]{36}$/i.test(product) ? `{${product}}` : product;
  const app = [
    ...[`appid="${escaped(appId)}"`, `version="${escaped(version)}"`, `track="${escaped(track)}"`],
    ...[
      `board="${escaped(board)}"`,
      `machineid="{${escaped(machineId)}}"`,
      `bootid="{${escaped(machineId)}}"`,
    ],
    ...[`oem=""`, `lang="en-US"`, `delta_okay="false"`, `multi_manifest_ok="true"`],
  ].join(" ");
  return `<?xml version="1.0" encoding="UTF-8"?>
<request protocol="3.0" version="${FOLLOWER}" updaterversion="${FOLLOWER}" installsource="scheduler" ismachine="1">
    <os version="Chateau" platform="CoreOS" sp=""></os>
    <app ${app}>
        <updatecheck></updatecheck>
    </app>
</request>
`;
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => ESCAPES[character] ?? "");
}
