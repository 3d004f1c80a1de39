--liquibase formatted sql
--changeset pgentra:1
create table liquibase_sample (id int);
insert into liquibase_sample values (1);
