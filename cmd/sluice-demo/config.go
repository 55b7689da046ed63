package main

// The configs of the demo, as a user would write them.

const sourceConfig = `name: shop
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: %d, replication: 1}
tables:
  - {match: "shop.*"}
http: %q
`

const shardsConfig = `group: shop-by-user
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
http: %q
session_timeout: 6s
mysql:
  create_tables: true
  unique: {shop.customers: [email], shop.orders: [code], shop.products: [shelf]}
  shards:
    - {name: s0, address: %q, user: app, password: app, database: shop}
    - {name: s1, address: %q, user: app, password: app, database: shop}
routes:
  - {table: shop.customers,   by: id,       rule: modulus}
  - {table: shop.orders,      by: user_id,  rule: modulus}
  - {table: shop.order_items, by: order_id, rule: modulus}
  - {table: shop.products,    by: sku,      rule: hash}
`

const searchConfig = `group: shop-search
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
elasticsearch:
  url: %q
  create_indexes: true
`
