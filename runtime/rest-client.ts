/** The Kubernetes API over HTTP: the real `KubeClient`, and the real source of watches. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import { type AccessClient, accessClient } from "./access.ts";
import {
  ApiError,
  type CallOptions,
  type EvictionResult,
  isApiError,
  type KubeClient,
  type ListResult,
  type ObjectKey,
} from "./client.ts";
import { LEASES, PODS } from "./core.ts";
import type { ApiConfig } from "./kubeconfig.ts";
import {
  createTransport,
  isDisruptionBudget,
  statusError,
  type Transport,
  type TransportOptions,
} from "./transport.ts";
import type { ListPage, Selection, WatchEvent, WatchSource, WatchSources } from "./watch-source.ts";

export interface RestClient extends KubeClient {
  /** For `createManager`. Shares the credentials, not the connection, of the calls. */
  readonly watches: WatchSources;
  /** Reviews of people and their rights. */
  readonly access: AccessClient;
  close(): Promise<void>;
}

/** Objects a page: what client-go's pager and kubectl use. */
const PAGE = 500;
/** How often a list starts anew because its token grew too old. */
const LIST_ATTEMPTS = 3;
/** A page of large objects may take its time. */
const LIST_DEADLINE = 60_000;

const TOKEN_REVIEWS: Resource = {
  group: "authentication.k8s.io",
  version: "v1",
  kind: "TokenReview",
  plural: "tokenreviews",
  namespaced: false,
};

/** The path of a resource, of one object, or of a subresource. Throws `ApiError` Invalid where a namespace is missing. */
export function pathOf(
  resource: Resource,
  key: { name?: string | undefined; namespace?: string | undefined } = {},
  subresource?: string,
): string {
  const root = resource.group === "" ? "/api" : `/apis/${resource.group}`;
  const parts = [`${root}/${resource.version}`];
  if (resource.namespaced && key.namespace !== undefined) {
    parts.push("namespaces", encodeURIComponent(key.namespace));
  } else if (resource.namespaced && key.name !== undefined) {
    throw new ApiError("Invalid", `${resource.kind} ${key.name} is namespaced: give its namespace`);
  }
  parts.push(resource.plural);
  if (key.name === "") throw new ApiError("Invalid", `A ${resource.kind} needs a name`);
  if (key.name !== undefined) parts.push(encodeURIComponent(key.name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join("/");
}

/** A client for the server and credentials of `config`. */
export function createRestClient(config: ApiConfig, options: TransportOptions): RestClient {
  const transport = createTransport(config, options);

  const client: RestClient = {
    get: (resource, key, { signal } = {}) =>
      transport.call({ method: "GET", path: pathOf(resource, key), urgent: isLease(resource), signal }),

    async list<T extends KubeObject>(
      resource: Resource,
      { signal, ...selection }: Selection & CallOptions = {},
    ): Promise<ListResult<T>> {
      const source = restSource(transport, resource, selection);
      return collect(source, signal ?? new AbortController().signal) as Promise<ListResult<T>>;
    },

    create: (resource, object, { signal } = {}) =>
      transport.call({
        method: "POST",
        path: pathOf(resource, collectionOf(resource, object)),
        body: object,
        urgent: isLease(resource),
        signal,
      }),

    apply: (resource, object, { fieldManager, force, subresource, signal }) =>
      transport.call({
        method: "PATCH",
        path: pathOf(resource, object.metadata, subresource),
        query: { fieldManager, force },
        body: object,
        contentType: "application/apply-patch+yaml", // JSON is YAML
        signal,
      }),

    replace: (resource, object, { subresource, signal } = {}) => {
      if (object.metadata.resourceVersion === undefined) {
        const message = `Replacing ${resource.kind} ${object.metadata.name} needs its resourceVersion`;
        return Promise.reject(new ApiError("Invalid", message));
      }
      return transport.call({
        method: "PUT",
        path: pathOf(resource, object.metadata, subresource),
        body: object,
        urgent: isLease(resource),
        signal,
      });
    },

    patch: (resource, key, patch, { subresource, fieldManager, signal } = {}) =>
      transport.call({
        method: "PATCH",
        path: pathOf(resource, key, subresource),
        query: { fieldManager },
        body: patch.body,
        contentType: patch.type === "merge" ? "application/merge-patch+json" : "application/json-patch+json",
        signal,
      }),

    async delete(resource, key, { uid, propagation, signal } = {}) {
      try {
        await transport.call({
          method: "DELETE",
          path: pathOf(resource, key),
          body: {
            apiVersion: "v1",
            kind: "DeleteOptions",
            ...(uid === undefined ? {} : { preconditions: { uid } }),
            ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
          },
          signal,
        });
      } catch (error) {
        if (!(await isGone(client, resource, key, uid, error))) throw error;
      }
    },

    async evict(pod, { gracePeriodSeconds, dryRun = false, signal } = {}): Promise<EvictionResult> {
      const all = dryRun ? ["All"] : undefined;
      try {
        await transport.call({
          method: "POST",
          path: pathOf(PODS, pod, "eviction"),
          once: true,
          query: { dryRun: dryRun ? "All" : undefined },
          body: {
            apiVersion: "policy/v1",
            kind: "Eviction",
            metadata: { name: pod.name, namespace: pod.namespace },
            deleteOptions: { gracePeriodSeconds, dryRun: all, preconditions: { uid: pod.uid } },
          },
          signal,
        });
        return { outcome: "evicted" };
      } catch (error) {
        if (await isGone(client, PODS, pod, pod.uid, error)) return { outcome: "gone" };
        // Two budgets over one Pod are answered with 500 (registry/core/pod/storage/eviction.go), for as long as they are there.
        const blocked = error instanceof ApiError && (isDisruptionBudget(error) || isSecondBudget(error));
        if (!blocked) throw error;
        return { outcome: "blocked", message: explain(error), retryAfter: error.retryAfter };
      }
    },

    async tokenReview(token, audience, { signal } = {}) {
      const review = await transport.call<TokenReview>({
        method: "POST",
        path: pathOf(TOKEN_REVIEWS),
        body: {
          apiVersion: "authentication.k8s.io/v1",
          kind: "TokenReview",
          spec: { token, audiences: [audience] },
        },
        signal,
      });
      const { authenticated = false, user = {}, audiences = [], error = "" } = review.status ?? {};
      // An authenticator that knows no audiences answers without any: then the token was not made for us.
      const forUs = authenticated && audiences.includes(audience);
      return {
        authenticated: forUs,
        username: forUs ? (user.username ?? "") : "",
        extra: forUs ? (user.extra ?? {}) : {},
        audiences,
        error: error || (authenticated && !forUs ? `The token is not for the audience ${audience}` : ""),
      };
    },

    watches: (resource, selection) => restSource(transport, resource, selection),
    access: accessClient(transport),
    close: () => transport.close(),
  };
  return client;
}

/** What leader election reads and writes. */
function isLease({ group, plural }: Resource): boolean {
  return group === LEASES.group && plural === LEASES.plural;
}

interface TokenReview {
  status?: {
    authenticated?: boolean;
    user?: { username?: string; extra?: Record<string, string[]> };
    audiences?: string[];
    error?: string;
  };
}

function collectionOf(resource: Resource, object: KubeObject): { namespace?: string | undefined } {
  const { name, namespace } = object.metadata;
  if (resource.namespaced && namespace === undefined) {
    throw new ApiError("Invalid", `${resource.kind} ${name} is namespaced: give its namespace`);
  }
  return { namespace };
}

/** Whether `error` says that the object, of this `uid` if one is given, is no more. */
async function isGone(
  client: KubeClient,
  resource: Resource,
  key: ObjectKey,
  uid: string | undefined,
  error: unknown,
): Promise<boolean> {
  if (isApiError(error, "NotFound")) return true;
  if (uid === undefined || !isApiError(error, "Conflict")) return false;
  try {
    return (await client.get(resource, key)).metadata.uid !== uid;
  } catch (again) {
    return isApiError(again, "NotFound");
  }
}

function isSecondBudget(error: ApiError): boolean {
  return error.status === 500 && error.message.includes("more than one PodDisruptionBudget");
}

/** The API says only "would violate the pod's disruption budget"; the cause names it. */
function explain(error: ApiError): string {
  const cause = error.causes.find((text) => text.startsWith("DisruptionBudget: "));
  return cause === undefined ? error.message : cause.slice("DisruptionBudget: ".length);
}

/** All pages of a consistent list. */
async function collect(source: WatchSource, signal: AbortSignal): Promise<ListResult<KubeObject>> {
  for (let attempt = 1; ; attempt++) {
    try {
      const items: KubeObject[] = [];
      let token: string | undefined;
      for (;;) {
        const page = await source.list({ limit: PAGE, continue: token, signal });
        items.push(...page.items);
        token = page.continue;
        if (token === undefined) return { resourceVersion: page.resourceVersion, items };
      }
    } catch (error) {
      if (!isApiError(error, "Gone") || attempt >= LIST_ATTEMPTS) throw error;
    }
  }
}

interface ListAnswer {
  metadata?: { resourceVersion?: string; continue?: string };
  items?: KubeObject[];
}

function restSource(transport: Transport, resource: Resource, selection: Selection): WatchSource {
  const { namespace, labelSelector, fieldSelector } = selection;
  const path = pathOf(resource, { namespace });
  const apiVersion = resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
  return {
    async list({ limit, continue: token, signal }): Promise<ListPage> {
      const { metadata = {}, items } = await transport.call<ListAnswer>({
        method: "GET",
        path,
        query: { limit, continue: token, labelSelector, fieldSelector },
        deadline: LIST_DEADLINE,
        signal,
      });
      return {
        resourceVersion: metadata.resourceVersion ?? "",
        // Items of a list lack these two.
        items: (items ?? []).map((item) => ({ ...item, apiVersion, kind: resource.kind })),
        continue: metadata.continue || undefined,
      };
    },
    async *watch({ resourceVersion, timeoutSeconds, signal }) {
      const lines = transport.lines({
        method: "GET",
        path,
        query: {
          watch: true,
          allowWatchBookmarks: true,
          timeoutSeconds,
          labelSelector,
          fieldSelector,
          ...(resourceVersion === undefined
            ? { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" }
            : { resourceVersion }),
        },
        signal,
      });
      for await (const line of lines) yield decode(line);
    },
  };
}

function decode(line: string): WatchEvent {
  let event: { type?: string; object?: KubeObject & { code?: number } };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (cause) {
    throw new ApiError("Unavailable", "The watch sent a line that is no JSON", { cause });
  }
  const { type, object } = event;
  if (type === "ERROR") throw statusError(object?.code ?? 500, object ?? {});
  if (object?.metadata === undefined || !isEventType(type)) {
    throw new ApiError("Unavailable", `The watch sent an event that can't be read (type ${String(type)})`);
  }
  return { type, object };
}

function isEventType(type: string | undefined): type is WatchEvent["type"] {
  return type === "ADDED" || type === "MODIFIED" || type === "DELETED" || type === "BOOKMARK";
}
