/** Requests as update_engine 0.4.10 sends them: its attributes, their order, its events. For tests. */

export const FLATCAR = "e96281a6-d1af-4bde-9a0a-97b76e56dc57";

export interface Sent {
  appid?: string;
  version?: string;
  track?: string;
  machineid?: string;
  bootid?: string;
  board?: string;
  alias?: string;
  oem?: string;
  installsource?: string;
  /** What stands in the app. */
  inside?: string;
}

export const PING = `<ping active="1"></ping>`;
export const CHECK = `<updatecheck></updatecheck>`;
export const IDLE = `<event eventtype="3" eventresult="2" previousversion=""></event>`;
export const event = (type: number, result: number, more = ""): string =>
  `<event eventtype="${type}" eventresult="${result}"${more}></event>`;

export function requestOf(sent: Sent = {}): string {
  const { appid = `{${FLATCAR}}`, version = "2191.5.0", track = "stable", alias = "", oem = "qemu" } = sent;
  const { machineid = "0123456789abcdef0123456789abcdef", board = "amd64-usr" } = sent;
  const { bootid = "{6f5c34a4-4b56-4c4b-a8d0-a9a3ac2f5f0e}", installsource = "scheduler" } = sent;
  const updater = "update_engine-0.4.10";
  return `<?xml version="1.0" encoding="UTF-8"?>
<request protocol="3.0" version="${updater}" updaterversion="${updater}" installsource="${installsource}" ismachine="1">
    <os version="Chateau" platform="CoreOS" sp="${version}_x86_64"></os>
    <app appid="${appid}" version="${version}" track="${track}" bootid="${bootid}" oem="${oem}" oemversion="0.0.1" alephversion="2000.0.0" machineid="${machineid}" machinealias="${alias}" lang="en-US" board="${board}" hardware_class="" delta_okay="false" >
        ${sent.inside ?? `${PING}${CHECK}${IDLE}`}
    </app>
</request>
`;
}
