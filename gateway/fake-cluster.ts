/** A gateway's API server and its lease, in memory: for tests. */
import type { LeaseSession } from "../coordination/etcd.ts";
import type { TokenReviewResult } from "../runtime/client.ts";

/** A lease that a test can lose. */
export class FakeLeases {
  count = 0;
  current: AbortController | undefined;

  async lease(): Promise<LeaseSession> {
    this.count += 1;
    this.current = new AbortController();
    return { id: String(this.count), lost: this.current.signal, close: async () => {} };
  }
}

/** Tokens are `agent@NODE`. */
export const fakeReviews = {
  asked: 0,
  async tokenReview(token: string): Promise<TokenReviewResult> {
    fakeReviews.asked += 1;
    const node = /^agent@(.+)$/.exec(token)?.[1];
    return {
      authenticated: node !== undefined,
      username: "system:serviceaccount:slipway-system:slipway-agent",
      extra: {
        "authentication.kubernetes.io/node-name": [node ?? ""],
        "authentication.kubernetes.io/node-uid": [`uid-${node}`],
      },
      audiences: ["slipway"],
      error: "",
    };
  },
};
