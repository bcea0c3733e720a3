-- How a model was made and what it was worth on items held out; older models were plain neighbours.
alter table model add column algorithm text not null default 'item-knn';
alter table model add column judged_persons bigint not null default 0;
alter table model add column ndcg real;
alter table model add column plain_ndcg real;
