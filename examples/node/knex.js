// Knex: accepts the options of pg.
import { reportLogin } from "./setup.js";
import Knex from "knex";
import { entraConfig } from "pgentra";

const knex = Knex({ client: "pg", connection: await entraConfig() });
const { rows } = await knex.raw("select current_user as role");
reportLogin("knex", rows[0].role);
await knex.destroy();
