/** RebootBudget: a limit of unavailable nodes that several groups share. */
import * as z from "zod";
import { IntOrPercent } from "./int-or-percent.ts";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { atLeastOne, selectsSomething, validations } from "./rules.ts";
import { LabelSelector } from "./selector.ts";

export const RebootBudgetSpec = z
  .object({
    nodeSelector: LabelSelector,
    maxUnavailable: IntOrPercent.meta(validations(atLeastOne)),
    topologyKey: z.string().min(1).max(316).optional().meta({
      description: "Node label: the limit then holds within each of its values.",
    }),
  })
  .meta(validations(selectsSomething("nodeSelector")));

const Count = z.int().min(0).max(1_000_000);

export const BudgetDomain = z.object({
  domain: z.string().max(253).meta({ description: "Value of the topology key; empty without one." }),
  members: Count,
  limit: Count,
  unavailable: Count,
  holders: z
    .array(z.string().max(253))
    .max(100)
    .meta({ description: "Nodes that hold a slot.", "x-kubernetes-list-type": "atomic" }),
});

export const RebootBudgetStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  members: Count.optional(),
  limit: Count.optional(),
  unavailable: Count.optional(),
  holders: Count.optional(),
  waiting: Count.optional(),
  domains: z.array(BudgetDomain).max(100).optional().meta({ "x-kubernetes-list-type": "atomic" }),
  conditions: Conditions.optional(),
});

export type RebootBudgetSpec = z.output<typeof RebootBudgetSpec>;
export type RebootBudgetStatus = z.output<typeof RebootBudgetStatus>;
export type RebootBudget = Declared<RebootBudgetSpec, RebootBudgetStatus>;

export const rebootBudget = defineKind({
  kind: "RebootBudget",
  plural: "rebootbudgets",
  singular: "rebootbudget",
  shortNames: ["rb"],
  description: "A limit of unavailable nodes that several groups share.",
  spec: RebootBudgetSpec,
  status: RebootBudgetStatus,
  printerColumns: [
    { name: "Members", type: "integer", jsonPath: ".status.members", description: "Nodes that it binds." },
    {
      name: "Limit",
      type: "string",
      jsonPath: ".spec.maxUnavailable",
      description: "Most nodes down at once.",
    },
    {
      name: "Down",
      type: "integer",
      jsonPath: ".status.unavailable",
      description: "Nodes that count against it.",
    },
    { name: "Holders", type: "integer", jsonPath: ".status.holders", description: "Nodes that hold a slot." },
    { name: "Waiting", type: "integer", jsonPath: ".status.waiting", description: "Nodes that wait for it." },
    {
      name: "Age",
      type: "date",
      jsonPath: ".metadata.creationTimestamp",
      description: "When it was declared.",
    },
  ],
  rules: [],
});
