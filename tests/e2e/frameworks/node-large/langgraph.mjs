// LangGraph: its checkpoints in tables over pg's pool.
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import pg from "pg";
import { entraConfig } from "pgentra";

const schema = `langgraph_${process.env.TEST_NUMBER}`;
const pool = new pg.Pool(await entraConfig());
await new PostgresSaver(pool, undefined, { schema }).setup();
console.log((await pool.query(`select current_user as role from ${schema}.checkpoint_migrations`)).rows[0].role);
await pool.query(`drop schema ${schema} cascade`);
await pool.end();
