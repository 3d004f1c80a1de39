// Objection over Knex.
import Knex from "knex";
import { Model } from "objection";
import { entraConfig } from "pgentra";

const knex = Knex({ client: "pg", connection: await entraConfig() });
class Role extends Model {
    static tableName = "pg_roles";
}
const { rolname } = await Role.query(knex).findOne("rolname", knex.raw("current_user"));
console.log(rolname);
await knex.destroy();
