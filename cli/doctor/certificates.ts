/** Certificates in Slipway's Secrets: until when they are good. */
import { X509Certificate } from "node:crypto";
import { timestamp } from "../../api/meta.ts";
import type { Secret } from "../../runtime/core.ts";
import { count, when } from "../explain/words.ts";
import type { DoctorFacts } from "./facts.ts";
import { fail, type Line, ok, unread, warn } from "./line.ts";

/** Rotation should have happened long before. */
const SOON = 7 * 24 * 3_600_000;
/** Names of the chart's Secrets, after the release's own name. */
const OURS = /(?:^|-)(?:ca|gateway-tls|etcd-server|etcd-peer|etcd-client)$/;
const FIELDS = ["tls.crt", "ca.crt"];

/** `now`: wall clock, ms. */
export function checkCertificates({ secrets, namespace }: DoctorFacts, now: number): Line[] {
  const check = "certificates";
  if (typeof secrets === "string") return [unread(check, secrets)];
  const lines: Line[] = [];
  let good = 0;
  for (const secret of secrets.filter(({ metadata }) => OURS.test(metadata.name))) {
    for (const { field, end } of endsOf(secret)) {
      const what = `${field} of Secret ${namespace}/${secret.metadata.name}`;
      const todo = `renew it: run the chart's certificates CronJob at once, \`kubectl -n ${namespace} get cronjobs,jobs\``;
      if (end === undefined) lines.push(fail(check, `${what} is no certificate in PEM`, todo));
      else if (end <= now) lines.push(fail(check, `${what} ended at ${when(timestamp(end), now)}`, todo));
      else if (end - now < SOON)
        lines.push(warn(check, `${what} ends at ${when(timestamp(end), now)}`, todo));
      else good++;
    }
  }
  if (good > 0) lines.push(ok(check, `${count(good, "certificate")} good for a week and longer`));
  return lines;
}

function endsOf({ data = {} }: Secret): { field: string; end: number | undefined }[] {
  return FIELDS.flatMap((field): { field: string; end: number | undefined }[] => {
    const encoded = data[field];
    if (encoded === undefined) return [];
    try {
      const certificate = new X509Certificate(Buffer.from(encoded, "base64"));
      return [{ field, end: certificate.validToDate.getTime() }];
    } catch {
      return [{ field, end: undefined }];
    }
  });
}
