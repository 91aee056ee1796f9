// Validate asks every plugin of a network for its versions, as libcni does for a runtime that validates a network
// before it uses it: cnitool has no command for VERSION.
//
//	CNI_PATH=… NETCONFPATH=… validate <net>
//
// It prints the capabilities of the plugins that are switched on.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	list, err := libcni.LoadNetworkConf(os.Getenv("NETCONFPATH"), os.Args[1])
	if err == nil {
		runtime := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil)
		var capabilities []string
		capabilities, err = runtime.ValidateNetworkList(context.Background(), list)
		fmt.Println(list.CNIVersion, capabilities)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
