/** A machine that runs update_engine, as far as a server sees it: its checks, its events, its boots. For tests. */
import { CHECK, event, FLATCAR, IDLE, PING, requestOf } from "./requests.ts";
import { readAsUpdateEngine, type Verdict } from "./update-engine.ts";

/** Of a server on a non-default URL (update_engine action_processor.h). */
const OWN_SERVER = 0x10_00_00_00;

export class OmahaMachine {
  readonly id: string;
  readonly #post: (xml: string) => Promise<string>;
  version: string;
  track = "workers";
  installsource = "scheduler";
  board = "amd64-usr";
  appid = `{${FLATCAR}}`;
  #boot = 0;
  /** What the next check says of the boot before. */
  #said = IDLE;

  constructor(id: number, version: string, post: (xml: string) => Promise<string>) {
    this.id = id.toString(16).padStart(32, "0");
    this.version = version;
    this.#post = post;
  }

  #send(inside: string): Promise<string> {
    const { id: machineid, version, track, installsource, board, appid } = this;
    const bootid = `{00000000-0000-4000-8000-${String(this.#boot).padStart(12, "0")}}`;
    return this.#post(requestOf({ appid, machineid, version, track, installsource, board, bootid, inside }));
  }

  /** A check, with what is to be said of the last boot; reads the answer as update_engine does. */
  async check(): Promise<Verdict> {
    const said = this.#said;
    this.#said = IDLE;
    return readAsUpdateEngine(await this.#send(PING + CHECK + said), this.appid.includes(FLATCAR));
  }

  ping(): Promise<string> {
    return this.#send(PING);
  }

  /** Downloads and installs what it was offered, up to the reboot. */
  async install(): Promise<void> {
    for (const type of [13, 14, 3]) await this.tell(type);
  }

  /** That a step went well. */
  async tell(type: number): Promise<void> {
    await this.#send(event(type, 1));
  }

  async fail(code: number): Promise<void> {
    await this.#send(event(3, 0, ` errorcode="${OWN_SERVER | code}"`));
  }

  /** Into `version`; the first check after it says so, unless `silent`. */
  reboot(version: string, silent = false): void {
    const from = this.version;
    this.#boot += 1;
    this.version = version;
    if (!silent) this.#said = event(3, 2, ` previousversion="${from}"`);
  }

  /** Back into the version from before the update. */
  fallBack(): void {
    this.#boot += 1;
    this.#said = event(3, 0, ` errorcode="44"`);
  }
}
