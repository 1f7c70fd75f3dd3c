/** Our requests and answers in the shapes of etcd's protocol, as npm `etcd3` types them. */
import type { ICompare, IKeyValue, IRangeRequest, IRequestOp } from "etcd3";
import type { Compare, KeyValue, Operation, Range } from "./etcd.ts";
import { prefixEnd } from "./etcd3-streams.ts";

export function rangeRequest(range: Range): IRangeRequest {
  if ("key" in range) return { key: Buffer.from(range.key) };
  const key = Buffer.from(range.prefix);
  return {
    // The first key that comes after another is that with a zero byte more.
    key: range.after === undefined ? key : Buffer.from(`${range.after}\0`),
    range_end: prefixEnd(key),
    ...(range.limit !== undefined && { limit: range.limit }),
  };
}

export function compareRequest(compare: Compare): ICompare {
  const key = Buffer.from(compare.key);
  if (compare.target === "value") {
    return { key, target: "Value", result: "Equal", value: Buffer.from(compare.value) };
  }
  const result = ({ equal: "Equal", greater: "Greater", less: "Less" } as const)[compare.is];
  return compare.target === "mod"
    ? { key, target: "Mod", result, mod_revision: compare.revision }
    : { key, target: "Create", result, create_revision: compare.revision };
}

export function operationRequest(operation: Operation): IRequestOp {
  if ("put" in operation) {
    return {
      request_put: {
        key: Buffer.from(operation.put),
        value: Buffer.from(operation.value),
        ...(operation.lease !== undefined && { lease: operation.lease }),
      },
    };
  }
  if ("delete" in operation) return { request_delete_range: { key: Buffer.from(operation.delete) } };
  const key = Buffer.from(operation.deletePrefix);
  return { request_delete_range: { key, range_end: prefixEnd(key) } };
}

export function keyValue(kv: IKeyValue): KeyValue {
  return {
    key: kv.key.toString(),
    value: kv.value.toString(),
    createRevision: Number(kv.create_revision),
    modRevision: Number(kv.mod_revision),
    lease: kv.lease === "0" ? undefined : kv.lease,
  };
}
