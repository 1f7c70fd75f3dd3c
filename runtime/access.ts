/** Who a person is and what RBAC lets them do, as the API server answers it. */
import type { Resource } from "../api/kind.ts";
import type { CallOptions } from "./client.ts";
import type { Transport } from "./transport.ts";

/** A user as Kubernetes' authentication tells it; what RBAC is asked for. */
export interface Person {
  username: string;
  groups: readonly string[];
}

export interface AccessQuestion {
  person: Person;
  verb: "get" | "list" | "create" | "patch" | "delete";
  resource: Resource;
  subresource?: string;
  /** Of the object; all of them where it is absent. */
  name?: string;
}

export type PersonReview = { authenticated: true; person: Person } | { authenticated: false; error: string };

/** Both calls throw `ApiError`. */
export interface AccessClient {
  /** TokenReview of a person's own token, for the audience of the API server. */
  reviewPerson(token: string, options?: CallOptions): Promise<PersonReview>;
  /** SubjectAccessReview. `reason` is the authorizer's, and often empty. */
  reviewAccess(
    question: AccessQuestion,
    options?: CallOptions,
  ): Promise<{ allowed: boolean; reason: string }>;
}

interface TokenReview {
  status?: { authenticated?: boolean; user?: { username?: string; groups?: string[] }; error?: string };
}

interface SubjectAccessReview {
  status?: { allowed?: boolean; reason?: string };
}

export function accessClient(transport: Pick<Transport, "call">): AccessClient {
  return {
    async reviewPerson(token, { signal } = {}) {
      const { status = {} } = await transport.call<TokenReview>({
        method: "POST",
        path: "/apis/authentication.k8s.io/v1/tokenreviews",
        body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token } },
        signal,
      });
      const username = status.user?.username ?? "";
      if (status.authenticated !== true || username === "") {
        return { authenticated: false, error: status.error ?? "The token is not valid" };
      }
      return { authenticated: true, person: { username, groups: status.user?.groups ?? [] } };
    },

    async reviewAccess({ person, verb, resource, subresource, name }, { signal } = {}) {
      const { status = {} } = await transport.call<SubjectAccessReview>({
        method: "POST",
        path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        body: {
          apiVersion: "authorization.k8s.io/v1",
          kind: "SubjectAccessReview",
          spec: {
            user: person.username,
            groups: person.groups,
            resourceAttributes: {
              group: resource.group,
              version: resource.version,
              resource: resource.plural,
              verb,
              ...(subresource === undefined ? {} : { subresource }),
              ...(name === undefined ? {} : { name }),
            },
          },
        },
        signal,
      });
      return { allowed: status.allowed === true, reason: status.reason ?? "" };
    },
  };
}
