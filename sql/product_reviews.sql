-- The seven tables of the specification, as an application of product reviews has them: what peers synchronise unless
-- they are told otherwise (sync-core/src/config/peer/tables.rs). Run once in each peer's database, with
-- `psql -v ON_ERROR_STOP=1 -f` or by `peer-node serve --create-tables`; every statement may be run again. Tables that are
-- there already stay as they are.
--
-- Keys are UUIDs, so that no two peers give out the same. `users.role` does not travel: what a peer says makes nobody an
-- administrator here.

CREATE TABLE IF NOT EXISTS users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username      varchar(255) NOT NULL,
    email         varchar(255) NOT NULL UNIQUE,
    password_hash varchar(255),
    full_name     varchar(255),
    avatar        varchar(500),
    role          varchar(20) NOT NULL DEFAULT 'user',
    created_at    timestamptz DEFAULT now(),
    updated_at    timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS categories (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        varchar(100) NOT NULL UNIQUE,
    slug        varchar(100) NOT NULL UNIQUE,
    description text,
    created_at  timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS products (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name         varchar(255) NOT NULL,
    description  text,
    category_id  uuid REFERENCES categories (id),
    user_id      uuid REFERENCES users (id),
    manufacturer varchar(255),
    price        numeric(10, 2),
    product_url  varchar(500),
    availability varchar(100),
    status       varchar(20) DEFAULT 'active',
    created_at   timestamptz DEFAULT now(),
    updated_at   timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS reviews (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users (id),
    product_id uuid NOT NULL REFERENCES products (id),
    rating     integer NOT NULL CHECK (rating BETWEEN 1 AND 5),
    title      varchar(255),
    content    text,
    status     varchar(20) DEFAULT 'published',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (user_id, product_id)
);

CREATE TABLE IF NOT EXISTS product_images (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    product_id uuid REFERENCES products (id),
    image_url  varchar(500) NOT NULL,
    is_primary boolean DEFAULT false,
    sort_order integer DEFAULT 0,
    created_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS review_media (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    review_id  uuid REFERENCES reviews (id),
    media_url  varchar(500) NOT NULL,
    media_type varchar(20),
    sort_order integer DEFAULT 0,
    created_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS activity_logs (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid REFERENCES users (id),
    action     varchar(100) NOT NULL,
    details    jsonb,
    created_at timestamptz DEFAULT now()
);
