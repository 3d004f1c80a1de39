create table if not exists flyway_sample (id int);
insert into flyway_sample values (1);
