import { shard } from "./shards.ts";

shard(1);
