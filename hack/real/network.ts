/** Addresses inside of the box. Nothing has a default route: no packet leaves. */

/** The box itself: the API server (port 443), DNS, whatever a test serves. hack/real/box.sh gives it to the bridge. */
export const BOX_ADDRESS = "10.89.0.1";
export const API_PORT = 443;
export const POD_RANGE = "10.244.0.0/16";
/** Of Services, as hack/plane/components.ts gives it to the API server. */
export const SERVICE_RANGE = "10.96.0.0/16";
export const CLUSTER_DOMAIN = "cluster.local";

/** More machines than a box has room for. */
const MOST = 200;

export interface Place {
  address: string;
  podRange: string;
  /** The box's end of the node's cable. */
  cable: string;
}

/** Where the machine number `index` (from 0) is. */
export function placeOf(index: number): Place {
  if (index < 0 || index >= MOST) throw new RangeError(`a box has room for ${MOST} machines`);
  return { address: `10.89.0.${index + 11}`, podRange: `10.244.${index + 1}.0/24`, cable: `veth${index}` };
}
