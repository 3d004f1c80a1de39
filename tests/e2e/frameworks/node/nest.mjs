// Nest: a provider of an asynchronous factory is the pool.
import "reflect-metadata";
import { Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import pg from "pg";
import { entraConfig } from "pgentra";

class AppModule {}
Module({
    providers: [{ provide: "POOL", useFactory: async () => new pg.Pool(await entraConfig()) }],
})(AppModule);
const application = await NestFactory.createApplicationContext(AppModule, { logger: ["error"] });
const pool = application.get("POOL");
console.log((await pool.query("select current_user as role")).rows[0].role);
await pool.end();
await application.close();
