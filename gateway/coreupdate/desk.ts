/**
 * Between CoreUpdate's API and our objects: the catalogue as it is now, rights asked of RBAC, and writes that are seen
 * in the view before they are answered, because the next command of a script reads it.
 */
import { channel as channelKind } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { release as releaseKind } from "../../api/release.ts";
import { updateGroup as groupKind } from "../../api/update-group.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import type { UpdateService } from "../../coordination/update-service.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type { AccessQuestion, Person } from "../../runtime/access.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { UPDATESERVICECTL } from "../../runtime/field-owners.ts";
import type { Store } from "../../runtime/store.ts";
import type { Objects } from "../objects/view.ts";
import type { ObjectWriter } from "../objects/write.ts";
import type { Catalogue, NamedCatalogue } from "./catalogue.ts";
import type { Change } from "./change.ts";
import type { Seen } from "./instance.ts";
import { demandDeletable, demandFields } from "./owner.ts";
import { Problem } from "./problem.ts";

const KINDS = [releaseKind, channelKind, groupKind];
/** For the view to show what was written, ms; it is answered all the same. */
const SEEN_WITHIN = 2000;

export interface DeskOptions {
  objects: Objects;
  writer: Pick<ObjectWriter, "apply" | "annotate" | "unset" | "demand">;
  client: Pick<KubeClient, "get" | "delete">;
  /** Those without our agent, as they were seen last. */
  machines: Iterable<[uid: string, machine: ForeignMachine]>;
  coordination: Pick<Coordination, "readForeignMachine">;
  service: UpdateService;
  clock: Clock;
  random: Random;
  log: Logger;
}

export class Desk {
  readonly options: DeskOptions;

  constructor(options: DeskOptions) {
    this.options = options;
  }

  /** Throws `Problem` 503 before the view is whole. */
  catalogue(): Catalogue {
    const { objects } = this.options;
    if (!objects.synced) throw new Problem(503, "The gateway has not read the cluster's objects yet.");
    return {
      releases: objects.releases.list(),
      channels: objects.channels.list(),
      groups: objects.groups.list().filter(({ metadata }) => metadata.deletionTimestamp === undefined),
    };
  }

  /** Asks etcd: for calls that say which applications there are. Throws `Problem` 503, and `EtcdUnavailable`. */
  async named(): Promise<NamedCatalogue> {
    return { ...this.catalogue(), names: await this.options.service.readApps() };
  }

  seen(): Seen {
    const { objects, machines, clock } = this.options;
    return { machines, nodeUpdates: objects.nodeUpdates.list(), asOf: objects.asOf ?? clock.now() };
  }

  /** Throws `WriteError` where RBAC doesn't let the person list what the answer is made of. */
  async demandList(
    person: Person,
    ...kinds: ("releases" | "channels" | "groups" | "nodes")[]
  ): Promise<void> {
    const of = { releases: releaseKind, channels: channelKind, groups: groupKind, nodes: nodeUpdate };
    for (const kind of kinds) await this.demand({ person, verb: "list", resource: of[kind] });
  }

  async demand(question: AccessQuestion): Promise<void> {
    await this.options.writer.demand(question);
  }

  /** The object as it is now, with who owns which field of it: the view drops that. Throws `Problem`. */
  async live<T extends KubeObject>(resource: Resource, name: string): Promise<T> {
    try {
      return await this.options.client.get<T>(resource, { name });
    } catch (error) {
      throw refusalOf(error, resource, name);
    }
  }

  /** Makes objects. Throws `WriteError`. */
  async make<T extends KubeObject>(person: Person, changes: readonly Change[]): Promise<T | undefined> {
    let stored: T | undefined;
    for (const { resource, object, fieldManager } of changes) {
      stored = await this.options.writer.apply<T>(person, resource, object, { fieldManager });
    }
    if (stored !== undefined) await this.#shown(stored);
    return stored;
  }

  /** Changes `live`; before the first write it is known that nobody else declares what any of them changes. */
  async change<T extends KubeObject>(person: Person, live: T, changes: readonly Change[]): Promise<T> {
    for (const { object } of changes) {
      demandFields(live, [
        ...fieldsOf(object.spec ?? {}, "spec"),
        ...Object.keys(object.metadata.annotations ?? {}).map((key) => `metadata.annotations.${key}`),
      ]);
    }
    return (await this.make<T>(person, changes)) ?? live;
  }

  /** Takes `spec.FIELD` away, of `live` as it was read. Throws `WriteError`. */
  async unset(person: Person, resource: Resource, { metadata }: KubeObject, field: string): Promise<void> {
    const { name, resourceVersion } = metadata;
    const stored = await this.options.writer.unset(person, resource, name, field, {
      fieldManager: `${UPDATESERVICECTL}-${field}`,
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    });
    await this.#shown(stored);
  }

  /** Sets annotations that ask for something once. Throws `WriteError`. */
  async annotate(
    person: Person,
    resource: Resource,
    name: string,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void> {
    const as = { fieldManager: UPDATESERVICECTL, demanded: true };
    await this.options.writer.annotate(person, resource, name, annotations, as);
  }

  /** Throws `Problem` 409 where somebody else declares it, `WriteError` where RBAC forbids it. */
  async remove(person: Person, resource: Resource, name: string): Promise<void> {
    const { client, log } = this.options;
    await this.demand({ person, verb: "delete", resource, name });
    const object = await this.live(resource, name);
    demandDeletable(object);
    const { uid } = object.metadata;
    try {
      await client.delete(resource, { name }, uid === undefined ? {} : { uid });
    } catch (error) {
      throw refusalOf(error, resource, name);
    }
    log.info("a person's deletion", { user: person.username, resource: resource.plural, name });
    await this.#until(this.#storeOf(resource), (store) => {
      const left = store.get(name);
      return left === undefined || left.metadata.uid !== uid || left.metadata.deletionTimestamp !== undefined;
    });
  }

  #storeOf({ plural }: Resource): Store<KubeObject> {
    const { objects } = this.options;
    const stores: Readonly<Record<string, Store<KubeObject>>> = {
      [releaseKind.plural]: objects.releases,
      [channelKind.plural]: objects.channels,
      [groupKind.plural]: objects.groups,
    };
    const store = stores[plural];
    if (store === undefined) throw new Error(`${plural} are not shown here`);
    return store;
  }

  /** Waits until the view has what was written, or something newer. */
  async #shown(stored: KubeObject): Promise<void> {
    const kind = KINDS.find((one) => one.kind === stored.kind);
    if (kind === undefined) return;
    const { name, resourceVersion = "0" } = stored.metadata;
    await this.#until(this.#storeOf(kind), (store) => {
      const now = store.get(name)?.metadata.resourceVersion;
      // Versions of one kind are etcd's revisions: they rise (Kubernetes 1.35, KEP-5504).
      return now !== undefined && BigInt(now) >= BigInt(resourceVersion);
    });
  }

  async #until(store: Store<KubeObject>, holds: (store: Store<KubeObject>) => boolean): Promise<void> {
    if (holds(store)) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        cancel();
        unlisten();
        resolve();
      };
      const unlisten = store.onChange(() => {
        if (holds(store)) end();
      });
      const cancel = this.options.clock.after(SEEN_WITHIN, end);
    });
  }
}

/** Of objects the fields within: one that has several owners is anybody's for the rest. */
function fieldsOf(tree: object, path: string): string[] {
  return Object.entries(tree).flatMap(([key, value]: [string, unknown]) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? fieldsOf(value, `${path}.${key}`)
      : [`${path}.${key}`],
  );
}

function refusalOf(error: unknown, { kind, plural }: Resource, name: string): unknown {
  if (isApiError(error, "NotFound")) return new Problem(404, `There is no ${kind} ${name}.`);
  if (isApiError(error, "Forbidden")) return new Problem(403, `The gateway itself may not change ${plural}.`);
  if (isApiError(error, "Conflict")) return new Problem(409, `${kind} ${name} was made anew meanwhile.`);
  if (isApiError(error)) return new Problem(503, "The Kubernetes API gives no answer; look again.");
  return error;
}
