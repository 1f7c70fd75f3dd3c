/** etcd keeps every value that a key ever had until somebody tells it how far back nobody looks. */
import type { Leadership } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import type { Parser } from "./parse.ts";
import type { Ports } from "./transact.ts";

/**
 * Forgets what keys were before `revision`. Nothing of Slipway reads the past: reads are of
 * the present; what notices a restored store (`guardRewind`, `lostBecause`) compares revisions
 * with numbers that it remembers, and those of living keys stay; a watch begins at the present.
 * False if the epoch is no longer ours.
 */
export async function compact(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  revision: number,
): Promise<boolean> {
  const { results } = await etcd.read(LEADERSHIP);
  if (!leads(viewEpoch(results[0]?.[0], results[1]?.[0], parser), leader)) return false;
  await etcd.compact(revision);
  return true;
}
