/** Events as a port: what `kubectl describe` shows. The reason is the condition's reason. */

import type { KubeObject } from "../api/meta.ts";
import type { Why } from "../api/reasons.ts";

export interface EventRecorder {
  /** Records that `why` became true of `regarding`; `action` is what the controller did (UpperCamelCase verb). */
  record(regarding: KubeObject, why: Why, action: string): void;
}
