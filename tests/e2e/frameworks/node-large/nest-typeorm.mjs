// Nest with TypeORM: an asynchronous factory returns the options.
import "reflect-metadata";
import { Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { getDataSourceToken, TypeOrmModule } from "@nestjs/typeorm";
import { entraConfig } from "pgentra";

const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
class AppModule {}
Module({
    imports: [
        TypeOrmModule.forRootAsync({
            useFactory: async () => {
                const { user: username, ...rest } = await entraConfig({ host, port: Number(port), database });
                return { type: "postgres", username, ...rest };
            },
        }),
    ],
})(AppModule);
const application = await NestFactory.createApplicationContext(AppModule, { logger: ["error"] });
const source = application.get(getDataSourceToken());
console.log((await source.query("select current_user as role"))[0].role);
await application.close();
