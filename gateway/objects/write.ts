/**
 * Writes of our objects in a person's name. RBAC decides: the API server is asked whether that person may, and then the
 * gateway writes by its own credentials, under a field manager that says which door was used. Nothing that another manager
 * declares (GitOps, an applied file) is taken from it unless the person says so.
 */
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { Logger } from "../../ports/log.ts";
import type { AccessQuestion, Person } from "../../runtime/access.ts";
import { ApiError, type KubeClient } from "../../runtime/client.ts";
import { applyUndeclared, FieldOwned } from "../../runtime/field-owners.ts";
import type { AccessReviewer } from "./review.ts";

export type WriteErrorKind = "Forbidden" | "NotFound" | "Invalid" | "Owned" | "Conflict" | "Unavailable";

const STATUS: Record<WriteErrorKind, number> = {
  Forbidden: 403,
  NotFound: 404,
  Invalid: 422,
  Owned: 409,
  Conflict: 409,
  Unavailable: 503,
};

/** A write that was not done. `message` is a sentence for the person. */
export class WriteError extends Error {
  readonly kind: WriteErrorKind;
  /** HTTP status for it. */
  readonly status: number;
  /** Of kind `Owned`: the field manager, and its field. */
  readonly owner: string | undefined;
  readonly field: string | undefined;

  constructor(
    kind: WriteErrorKind,
    message: string,
    owned?: { owner: string; field: string },
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "WriteError";
    this.kind = kind;
    this.status = STATUS[kind];
    this.owner = owned?.owner;
    this.field = owned?.field;
  }
}

export interface ApplyAs {
  /**
   * Server-side apply removes what this manager owned and the object doesn't name: take one manager for each set of
   * fields that is always written together, such as `slipway-console-paused`.
   */
  fieldManager: string;
  /** The person said that the field is to be taken from whoever owns it. */
  force?: boolean;
}

type Words = Readonly<Record<string, string | null>>;

export interface PatchAs {
  fieldManager: string;
  /** Only the object as it was read. */
  resourceVersion?: string;
  /** The caller asked already whether the person may do it to all of the kind. */
  demanded?: boolean;
}

export interface ObjectWriterOptions {
  client: Pick<KubeClient, "get" | "apply" | "patch">;
  reviewer: Pick<AccessReviewer, "allows">;
  log: Logger;
}

export class ObjectWriter {
  readonly #options: ObjectWriterOptions;

  constructor(options: ObjectWriterOptions) {
    this.#options = options;
  }

  /** Throws `WriteError` of kind Forbidden where RBAC doesn't let the person do it, Unavailable where nobody can be asked. */
  async demand(question: AccessQuestion): Promise<void> {
    const { person, verb, resource, name } = question;
    const allowed = await this.#options.reviewer.allows(question).catch((error: unknown) => {
      throw unavailable(error, "nothing was written");
    });
    if (allowed) return;
    const what = `${resource.plural}${resource.group === "" ? "" : `.${resource.group}`}`;
    throw new WriteError(
      "Forbidden",
      `${person.username} may not ${verb} ${what}${name === undefined ? "" : ` ${name}`}: RBAC does not allow it.`,
    );
  }

  /**
   * Server-side apply of the fields that `object` names. With a `metadata.uid` only to that object; without one it is
   * made where there is none, for which the person needs the right to create, too. Throws `WriteError`.
   */
  async apply<T extends KubeObject>(
    person: Person,
    resource: Resource,
    object: KubeObject,
    { fieldManager, force = false }: ApplyAs,
  ): Promise<T> {
    const { name, uid } = object.metadata;
    await this.demand({ person, verb: "patch", resource, name });
    if (uid === undefined) await this.demand({ person, verb: "create", resource, name });
    try {
      const as = { fieldManager, force };
      const stored = await applyUndeclared<T>(this.#options.client, resource, object, as);
      this.#tell(person, resource, name, fieldManager);
      return stored;
    } catch (error) {
      throw refusal(error, resource, name);
    }
  }

  /** Sets annotations; `null` removes one. Throws `WriteError`. */
  async annotate<T extends KubeObject>(
    person: Person,
    resource: Resource,
    name: string,
    annotations: Words,
    as: PatchAs,
  ): Promise<T> {
    return await this.#patch<T>(person, resource, name, { metadata: { annotations } }, as);
  }

  /** The same for labels. */
  async label<T extends KubeObject>(
    person: Person,
    resource: Resource,
    name: string,
    labels: Words,
    as: PatchAs,
  ): Promise<T> {
    return await this.#patch<T>(person, resource, name, { metadata: { labels } }, as);
  }

  /** Takes `spec.FIELD` away, whoever owns a part of it. Throws `WriteError`. */
  async unset<T extends KubeObject>(
    person: Person,
    resource: Resource,
    name: string,
    field: string,
    as: PatchAs,
  ): Promise<T> {
    return await this.#patch<T>(person, resource, name, { spec: { [field]: null } }, as);
  }

  async #patch<T extends KubeObject>(
    person: Person,
    resource: Resource,
    name: string,
    change: { metadata?: { annotations: Words } | { labels: Words }; spec?: Record<string, null> },
    { fieldManager, resourceVersion, demanded }: PatchAs,
  ): Promise<T> {
    if (demanded !== true) await this.demand({ person, verb: "patch", resource, name });
    const metadata = { ...change.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    try {
      const patch = { type: "merge", body: { ...change, metadata } } as const;
      const stored = await this.#options.client.patch<T>(resource, { name }, patch, { fieldManager });
      this.#tell(person, resource, name, fieldManager);
      return stored;
    } catch (error) {
      throw refusal(error, resource, name);
    }
  }

  /** The API server's own audit log names the gateway: this line names the person. */
  #tell(person: Person, resource: Resource, name: string, fieldManager: string): void {
    this.#options.log.info("a person's write", {
      user: person.username,
      resource: resource.plural,
      name,
      fieldManager,
    });
  }
}

/** What the API server says of a call for an object, as a person is told it; throws what it did not say. */
export function refusal(error: unknown, resource: Resource, name: string): WriteError {
  if (error instanceof WriteError) return error;
  if (error instanceof FieldOwned) {
    const { owner, field } = error;
    return new WriteError(
      "Owned",
      `${field} of ${resource.kind} ${name} belongs to ${owner}: change it there, or take it over, and it may be set back.`,
      { owner, field },
      error,
    );
  }
  if (!(error instanceof ApiError)) throw error;
  switch (error.kind) {
    case "NotFound":
      return new WriteError("NotFound", `There is no ${resource.kind} ${name}.`, undefined, error);
    case "Conflict":
    case "AlreadyExists":
      return new WriteError(
        "Conflict",
        `${resource.kind} ${name} was changed meanwhile: nothing was written; look again.`,
        undefined,
        error,
      );
    case "Invalid":
      return new WriteError("Invalid", error.message, undefined, error);
    case "Forbidden":
      return new WriteError(
        "Forbidden",
        `The gateway itself may not write ${resource.plural}: its chart value for this is off.`,
        undefined,
        error,
      );
    default:
      return unavailable(error, "whether it was written is not known: look before you ask again");
  }
}

function unavailable(error: unknown, consequence: string): WriteError {
  return new WriteError(
    "Unavailable",
    `The Kubernetes API gives no answer; ${consequence}.`,
    undefined,
    error,
  );
}
