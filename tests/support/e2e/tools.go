//go:build tools

// Package e2e names Kubernetes' own end-to-end tests and the program of most of their pods. Comments name the programs.
// The lines `replace` of go.mod are those of tests/support/kubernetes.
//
// ldflags: -X k8s.io/component-base/version.gitVersion=vVERSION
package e2e

import (
	_ "k8s.io/kubernetes/test/e2e"            // e2e.test
	_ "k8s.io/kubernetes/test/images/agnhost" // agnhost
)
