/** Writes `RebootBudget.status`. Observes RebootBudgets and what the last plan rested on. */
import { rebootBudget as kind, type RebootBudget } from "../../api/reboot-budget.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import { applyStatus } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { Reconciler, Result } from "../../runtime/reconciler.ts";
import type { Store } from "../../runtime/store.ts";
import type { Plan } from "../grants/policy.ts";
import type { World } from "../world.ts";
import { decideBudgetStatus, grantedBeside, tabulate } from "./policy.ts";

export interface BudgetDeps {
  client: KubeClient;
  budgets: Store<RebootBudget>;
  /** What the last plan rested on; undefined before the first. */
  latest: () => { world: World; fleet: FleetSnapshot; plan: Plan } | undefined;
}

/** Keys are names of RebootBudgets. */
export function createBudgetReconciler({ client, budgets, latest }: BudgetDeps): Reconciler {
  return {
    async reconcile(key, signal): Promise<Result> {
      const budget = budgets.get(key);
      const seen = latest();
      if (budget === undefined || seen === undefined) return {};
      const table = tabulate(seen.world, seen.fleet.present);
      const short = [...seen.plan.short.values()];
      const status = decideBudgetStatus(
        budget,
        table,
        (part) =>
          new Set([
            ...(seen.fleet.budgets.get(part.name)?.holders.keys() ?? []),
            ...grantedBeside(part, seen.fleet.grants),
          ]),
        (name) => short.filter((names) => names.includes(name)).length,
      );
      await applyStatus(client, kind, budget, status, { fieldManager: "slipway-budget", signal });
      return {};
    },
  };
}
