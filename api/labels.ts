/** Labels, annotations and finalizers that Slipway reads or writes. */
import { GROUP } from "./meta.ts";

/** On a Node: JSON `{token, unschedulable}`: who cordoned, and what stood there before (design, rule 6). */
export const CORDON_ANNOTATION = `${GROUP}/cordon`;
/** On a Node: a reason; while set, no grant is given to it, whatever else is asked. */
export const HOLD_ANNOTATION = `${GROUP}/hold`;
/** On a NodeUpdate: the release that a person allows again after it failed there. */
export const RETRY_ANNOTATION = `${GROUP}/retry`;
/** On a NodeUpdate: a reason, by which a person frees its slot although nothing says it is back; which grant is meant may stand at its end (`steal.ts`). */
export const STEAL_ANNOTATION = `${GROUP}/steal`;
/** On an UpdateGroup: the incarnation of etcd (status.machines names the one before) for which a person says that no machine without our agent is down. */
export const MACHINES_ANNOTATION = `${GROUP}/machines-confirmed`;
/** On an UpdateGroup: `MACHINE: reason` (`machine-word.ts`), by which a person frees the slot of a machine without our agent. */
export const STEAL_MACHINE_ANNOTATION = `${GROUP}/steal-machine`;
/** On an UpdateGroup: `MACHINE: reason`, by which a person lets a machine without our agent be offered again what failed on it. */
export const RETRY_MACHINE_ANNOTATION = `${GROUP}/retry-machine`;
/** On an UpdateGroup, RFC 3339: failures until then keep no release from its machines without our agent. */
export const RETRY_MACHINES_ANNOTATION = `${GROUP}/retry-machines`;
/** On an UpdateGroup, `MACHINE: reason`: takes a slot for a machine without our agent, as `locksmithctl lock` does. */
export const LOCK_MACHINE_ANNOTATION = `${GROUP}/lock-machine`;
/** On an UpdateGroup: a word that was not used before lifts its halt. */
export const RESUME_ANNOTATION = `${GROUP}/resume`;
/** On a Release: a reason, for which a person quarantines it; while it is there nothing more moves to the release. */
export const QUARANTINE_ANNOTATION = `${GROUP}/quarantine`;
/** On a NodeUpdate: the release a person allows although it is older than the floor. */
export const DOWNGRADE_ANNOTATION = `${GROUP}/allow-downgrade`;
/** On a NodeUpdate: holds deletion back until its slot is free. */
export const SLOT_FINALIZER = `${GROUP}/slot`;
/** On an UpdateGroup: holds deletion back until nothing is in flight. */
export const GROUP_FINALIZER = `${GROUP}/in-flight`;
/** Label on NodeUpdates: the UpdateGroup that they belong to. */
export const GROUP_LABEL = `${GROUP}/group`;
/**
 * On a NodeUpdate, by the rollout controller: JSON `Why` for which this one node is given
 * nothing new (`SelectedTwice`, `NeverAgain`, `UpdateNotReachable`, ...). No grant while it is there.
 */
export const WITHHELD_ANNOTATION = `${GROUP}/withheld`;
/** On a NodeUpdate, by the rollout controller: `release time` of the failure that a retry forgave; a later one needs a new retry. */
export const RETRIED_ANNOTATION = `${GROUP}/retried`;
/** Taint (PreferNoSchedule) on Nodes that wait for their reboot, where the group asks for it. */
export const PENDING_TAINT = `${GROUP}/update-pending`;
/** Kubernetes' own label (KEP-1143): service controllers take such a Node out of their load balancers. */
export const EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers";
/** On a NodeUpdate (or on its Node, from where it is moved): a reason, for which a person asks for one reboot of the machine; windows don't hold it back, budgets do. */
export const REBOOT_ANNOTATION = `${GROUP}/reboot`;
/** Beside it, with any value: the reboot may be in a change freeze too. */
export const REBOOT_IN_FREEZE_ANNOTATION = `${GROUP}/reboot-in-freeze`;
/**
 * Label on Nodes that run what Slipway stands on, etcd members or gateways: at most one is down at a time (design,
 * rule 12). Those with Pods of the chart are seen without it; it is for an etcd or gateways elsewhere.
 */
export const INFRASTRUCTURE_LABEL = `${GROUP}/infrastructure`;
/** On a NodeUpdate: the release that a person lets a node flip to although its group's strategy is Off. */
export const APPLY_ANNOTATION = `${GROUP}/apply`;
/** Taint of cluster-autoscaler on a Node that it is about to delete (utils/taints/taints.go: ToBeDeletedTaint). */
export const DOOMED_TAINT = "ToBeDeletedByClusterAutoscaler";
/** Annotation of kured (its flag --annotate-nodes) on a Node that it is rebooting. */
export const KURED_ANNOTATION = "weave.works/kured-reboot-in-progress";
/** Name of the Lease by which managers elect their leader, in the namespace that Slipway is installed in. */
export const MANAGER_LEASE = "slipway-manager";
/** On an UpdateGroup: `slipway uninstall` paused it, and unpauses it when nothing is under way any more. */
export const UNINSTALL_ANNOTATION = `${GROUP}/paused-for-uninstall`;
/** On a Job: the run of a hook that it is of, `nonce of the grant/phase/name of the hook`. */
export const HOOK_RUN_ANNOTATION = `${GROUP}/hook-run`;
/** On a Channel that was made before there was a Release of its version: the product (Omaha app id) that it is of. */
export const PRODUCT_ANNOTATION = `${GROUP}/product`;
/** On a Channel, `true`: its release is named to everybody by CoreUpdate's public lists, without signing in. */
export const PUBLISH_ANNOTATION = `${GROUP}/publish`;
/** On a Channel with an upstream: a word that was not used before makes the manager ask it at once. */
export const LOOK_ANNOTATION = `${GROUP}/look`;
/** On an UpdateGroup: what people call it. */
export const TITLE_ANNOTATION = `${GROUP}/title`;
/** Label that nobody shall have: a stage of Nodes with it is one of nobody, as CoreUpdate's API makes it for 0 %. */
export const NOBODY_LABEL = `${GROUP}/nobody`;
/** On an UpdateGroup: JSON, the frames of a rollout that was deactivated through CoreUpdate's API, from the one on which it stands. */
export const ROLLOUT_ANNOTATION = `${GROUP}/rollout`;
/** On a Release: JSON, what CoreUpdate keeps of a package and a Release doesn't (`sha1Sum`, `releaseNotes`, ...). */
export const PACKAGE_ANNOTATION = `${GROUP}/package`;
