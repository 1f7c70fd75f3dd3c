/**
 * The Kubernetes API as a port. `rest-client.ts` is the real one; the simulation has
 * another. Objects are raw JSON: nothing is parsed into classes.
 */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";

/** What went wrong, as a caller has to tell it apart (HTTP status of the API, or none). */
export type ApiErrorKind =
  | "NotFound" // 404
  | "Conflict" // 409: resourceVersion or field ownership
  | "AlreadyExists" // 409 with reason AlreadyExists
  | "Gone" // 410: the resource version is too old
  | "TooManyRequests" // 429; an eviction that a PodDisruptionBudget refuses has this too
  | "Invalid" // 400, 422
  | "Forbidden" // 401, 403
  | "Timeout" // 408, 504, or our own deadline
  | "Unavailable"; // 5xx, or no answer: the outcome of a write is unknown

/** A failed call. `message` is one sentence; `causes` are the fields that the server named. */
export class ApiError extends Error {
  readonly kind: ApiErrorKind;
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Milliseconds that the server asked us to wait (Retry-After). */
  readonly retryAfter: number | undefined;
  /** `status.details.causes` of the answer, as `field: message`. */
  readonly causes: readonly string[];

  constructor(
    kind: ApiErrorKind,
    message: string,
    options: {
      status?: number;
      retryAfter?: number | undefined;
      causes?: readonly string[];
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ApiError";
    this.kind = kind;
    this.status = options.status ?? 0;
    this.retryAfter = options.retryAfter;
    this.causes = options.causes ?? [];
  }
}

/** Whether `error` is an `ApiError` of one of `wanted`. */
export function isApiError(error: unknown, ...wanted: ApiErrorKind[]): error is ApiError {
  return error instanceof ApiError && (wanted.length === 0 || wanted.includes(error.kind));
}

export interface ObjectKey {
  name: string;
  namespace?: string | undefined;
}

export interface ListOptions {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
}

export interface ListResult<T> {
  resourceVersion: string;
  items: T[];
}

export interface CallOptions {
  signal?: AbortSignal;
}

export interface ApplyOptions extends CallOptions {
  /** Field manager: one per controller, `slipway-<controller>`. */
  fieldManager: string;
  /** Takes fields from other managers; true only for fields that are ours alone. */
  force?: boolean;
  /** Applies to /status instead. */
  subresource?: "status";
}

export type Patch =
  | { type: "merge"; body: unknown } // RFC 7386; put `metadata.resourceVersion` in for a compare
  | { type: "json"; body: readonly unknown[] }; // RFC 6902

/** Result of an eviction (policy/v1). `blocked`: a PodDisruptionBudget refused it now (429). */
export type EvictionResult =
  | { outcome: "evicted" }
  | { outcome: "gone" }
  | { outcome: "blocked"; message: string; retryAfter: number | undefined };

export interface TokenReviewResult {
  authenticated: boolean;
  username: string;
  /** E.g. `authentication.kubernetes.io/node-name`. */
  extra: Record<string, string[]>;
  audiences: string[];
  error: string;
}

/** Every call ends by itself: each has a deadline of its own, and throws `ApiError`. */
export interface KubeClient {
  get<T extends KubeObject>(resource: Resource, key: ObjectKey, options?: CallOptions): Promise<T>;
  /** A consistent list (quorum read). */
  list<T extends KubeObject>(resource: Resource, options?: ListOptions & CallOptions): Promise<ListResult<T>>;
  create<T extends KubeObject>(resource: Resource, object: T, options?: CallOptions): Promise<T>;
  /** Server-side apply. */
  apply<T extends KubeObject>(resource: Resource, object: T, options: ApplyOptions): Promise<T>;
  /** PUT, compared by resourceVersion. */
  replace<T extends KubeObject>(
    resource: Resource,
    object: T,
    options?: CallOptions & { subresource?: "status" },
  ): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource,
    key: ObjectKey,
    patch: Patch,
    /** `fieldManager`: the client's name where it is absent. */
    options?: CallOptions & { subresource?: "status"; fieldManager?: string },
  ): Promise<T>;
  /** Deleting what is gone succeeds. `Background` lets what it owns go too, which is not every kind's default: a Job's Pods stay. */
  delete(
    resource: Resource,
    key: ObjectKey,
    options?: CallOptions & { uid?: string; propagation?: "Background" },
  ): Promise<void>;
  /**
   * `uid` guards against a Pod of the same name. `dryRun` asks only. What refuses besides a
   * PodDisruptionBudget (a webhook, a missing permission) throws an `ApiError` with its status.
   */
  evict(
    pod: { name: string; namespace: string; uid: string },
    options?: CallOptions & { gracePeriodSeconds?: number; dryRun?: boolean },
  ): Promise<EvictionResult>;
  tokenReview(token: string, audience: string, options?: CallOptions): Promise<TokenReviewResult>;
}
