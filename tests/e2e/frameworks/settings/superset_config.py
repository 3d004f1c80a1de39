SQLALCHEMY_DATABASE_URI = (
    "postgresql+psycopg2://shop.postgres.database.azure.com/superset?sslmode=verify-full&plugin=pgentra"
)
