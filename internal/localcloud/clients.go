package localcloud

import (
	"cloud.google.com/go/storage"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// GRPCOptions are what the official Firestore and Pub/Sub clients need to talk to Endpoints.Firestore and
// Endpoints.PubSub. They do the work of FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST without an
// environment variable, which would hold for the whole process.
func GRPCOptions(addr string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(addr),
		option.WithoutAuthentication(),
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// StorageOptions are what the official Cloud Storage client (storage.NewClient) needs to talk to
// Endpoints.Storage. Reads go through the JSON API, as all other calls do.
func StorageOptions(addr string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint("http://" + addr + "/storage/v1/"),
		option.WithoutAuthentication(),
		option.WithTelemetryDisabled(),
		storage.WithJSONReads(),
	}
}
