/** Others that reboot nodes of this cluster, and do not ask us. */
import { KURED_ANNOTATION } from "../../api/labels.ts";
import { names } from "../explain/words.ts";
import type { DoctorFacts, Read, Workload } from "./facts.ts";
import { type Line, ok, warn } from "./line.ts";

const KURED = /(?:^|\/)kured(?:[:@]|$)/;
const FLUO = /(?:flatcar|container)-linux-update-(?:operator|agent)/;
const BRUPOP = /bottlerocket-update-operator/;

export function checkRivals(facts: DoctorFacts): Line[] {
  const check = "others";
  const { daemonSets, deployments, nodes, crds } = facts;
  const lines: Line[] = [];
  const two = (who: string, where: string, todo: string): void => {
    lines.push(
      warn(
        check,
        `${who} runs here too (${where}): two coordinators, each with a budget of its own, can take down twice as many nodes`,
        todo,
      ),
    );
  };
  const kured = running(daemonSets, KURED);
  if (kured !== undefined)
    two(
      "kured",
      kured,
      "`kubectl slipway migrate kured` prints its settings as ours; then delete its DaemonSet",
    );
  const fluo = running(deployments, FLUO) ?? running(daemonSets, FLUO);
  if (fluo !== undefined)
    two(
      "the Flatcar Linux Update Operator",
      fluo,
      "`kubectl slipway migrate fluo` prints its settings as ours; then delete operator and agents",
    );
  const shadows =
    typeof crds === "string" ? undefined : crds.find(({ spec }) => spec.names.kind === "BottlerocketShadow");
  const brupop =
    running(deployments, BRUPOP) ??
    running(daemonSets, BRUPOP) ??
    (shadows === undefined ? undefined : `CRD ${shadows.metadata.name}`);
  if (brupop !== undefined)
    two(
      "the Bottlerocket update operator",
      brupop,
      "`kubectl slipway migrate brupop` prints its settings as ours; then uninstall it",
    );
  const plans =
    typeof crds === "string" ? undefined : crds.find(({ spec }) => spec.group === "upgrade.cattle.io");
  if (plans !== undefined)
    two(
      "the system upgrade controller",
      `CRD ${plans.metadata.name}`,
      "let no Plan drain or reboot nodes of our groups",
    );
  if (typeof nodes !== "string") {
    const coreos = nodes.filter(({ status }) => /Fedora CoreOS/.test(status?.nodeInfo?.osImage ?? ""));
    if (coreos.length > 0) {
      const who = names(
        coreos.map(({ metadata }) => metadata.name),
        3,
      );
      two(
        "Zincati",
        `Fedora CoreOS on ${who}`,
        "point Zincati at a FleetLock server, or `systemctl mask zincati.service` there",
      );
    }
    const locked = nodes.filter(({ metadata }) => metadata.annotations?.[KURED_ANNOTATION] !== undefined);
    if (locked.length > 0) {
      lines.push(
        warn(
          check,
          `kured is rebooting ${names(locked.map(({ metadata }) => metadata.name))}`,
          "wait until it is done before nodes join a group",
        ),
      );
    }
  }
  return lines.length > 0 ? lines : [ok(check, "nobody else was found that reboots nodes")];
}

function running(workloads: Read<Workload>, image: RegExp): string | undefined {
  if (typeof workloads === "string") return undefined;
  const found = workloads.find(({ metadata, spec }) =>
    spec?.template?.spec?.containers?.some(
      (container) => image.test(container.image) || image.test(metadata.name),
    ),
  );
  return found === undefined ? undefined : `${found.kind} ${found.metadata.namespace}/${found.metadata.name}`;
}
