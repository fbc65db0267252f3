// Rotate gives the key ROTATE a new secret, and prints it. KEY and SECRET are those of a key with the scope
// admin.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"exportd/api/client"
)

func main() {
	api, err := client.New(client.Config{
		BaseURL: os.Getenv("URL"), Key: os.Getenv("KEY"), Secret: os.Getenv("SECRET"), SignatureVersion: 2,
	})
	if err != nil {
		log.Fatal(err)
	}
	which, overlap := client.RotateKeyJSONBodySecret("signing"), 24*60*60
	answer, err := api.RotateKeyWithResponse(context.Background(), os.Getenv("ROTATE"), client.RotateKeyJSONRequestBody{
		Secret: &which, OverlapSeconds: &overlap, Reason: "yearly rotation",
	})
	if err == nil && answer.JSON200 == nil {
		err = fmt.Errorf("%s: %s", answer.Status(), answer.Body)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "the old secret works until", answer.JSON200.OldSecretExpiresAt)
	fmt.Println(answer.JSON200.Secret)
}
