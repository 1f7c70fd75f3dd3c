/** Answers of the v2 API as they are compared: without what no two servers have in common. For tests. */
import { TTLS } from "./operations.ts";
import type { Answer } from "./served.ts";

/** Numbers of errors that etcd gave. */
export const errors = new Set<number>();

/** `sorted`: the children came in an order. */
export function normal(
  { status, headers, body }: Pick<Answer, "status" | "headers" | "body">,
  sorted: boolean,
) {
  const error = /^\{"errorCode":(\d+)/.exec(body)?.[1];
  if (error !== undefined) errors.add(Number(error));
  if (status === 301) return { status, location: headers.location };
  const text = timeless(body);
  const several = /"nodes":\[/.test(text) && !sorted;
  return {
    ...{ status, body: several ? JSON.stringify(ordered(JSON.parse(text))) : text },
    ...{
      index: headers["x-etcd-index"],
      type: headers["content-type"],
      allow: headers.allow,
      location: headers.location,
    },
    there: ["x-raft-index", "x-raft-term", "x-etcd-cluster-id"].filter((name) => headers[name] !== undefined),
  };
}

/** Without times. */
export function timeless(text: string): string {
  return text
    .replaceAll(/"expiration":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z"/g, '"expiration":"T"')
    .replaceAll(
      /"ttl":(\d+)/g,
      (_, seconds: string) =>
        `"ttl":${TTLS.find((drawn) => Math.abs(Number(drawn) - Number(seconds)) < 1000) ?? seconds}`,
    );
}

interface Listed {
  key?: string;
  nodes?: Listed[];
}
function ordered(json: { node?: Listed }): unknown {
  const sort = (node: Listed): Listed => {
    if (node.nodes === undefined) return node;
    const nodes = node.nodes.map(sort).toSorted((a, b) => ((a.key ?? "") < (b.key ?? "") ? -1 : 1));
    return { ...node, nodes };
  };
  return json.node === undefined ? json : { ...json, node: sort(json.node) };
}
