/** A kind -> its CustomResourceDefinition (apiextensions.k8s.io/v1). */
import type { Kind } from "./kind.ts";
import { structural } from "./structural.ts";

/** The longest name of an object: cluster-scoped names are DNS subdomains, and ours become label values. */
const MAX_NAME = 63;

export function crd(kind: Kind): object {
  const validations = kind.rules.map(({ rule, message, fieldPath }) =>
    fieldPath === undefined ? { rule, message } : { rule, message, fieldPath },
  );
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${kind.plural}.${kind.group}`, annotations: { "helm.sh/resource-policy": "keep" } },
    spec: {
      group: kind.group,
      scope: kind.namespaced ? "Namespaced" : "Cluster",
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.singular,
        shortNames: kind.shortNames,
        categories: ["slipway"],
      },
      versions: [
        {
          name: kind.version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: kind.printerColumns.map((column) => ({ ...column })),
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: kind.description,
              required: ["spec"],
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: {
                  type: "object",
                  properties: { name: { type: "string", maxLength: maxName(kind) } },
                },
                spec: structural(kind.spec, `${kind.kind}.spec`),
                status: structural(kind.status, `${kind.kind}.status`),
              },
              ...(validations.length > 0 ? { "x-kubernetes-validations": validations } : {}),
            },
          },
        },
      ],
    },
  };
}

/** A NodeUpdate is named as its Node, which may have up to 253 characters. */
function maxName(kind: Kind): number {
  return kind.kind === "NodeUpdate" ? 253 : MAX_NAME;
}
