mlflow server --backend-store-uri "postgresql+psycopg2://shop.postgres.database.azure.com/mlflow?sslmode=verify-full&plugin=pgentra"
