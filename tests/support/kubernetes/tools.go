//go:build tools

// Package kubernetes names the programs of Kubernetes that the tests build and run. Comments name the programs.
//
// k8s.io/kubernetes cannot be installed by itself: its go.mod replaces the modules that are published from its folder
// staging by these folders. The lines `replace` of this go.mod name the published ones of the same version.
//
// ldflags: -X k8s.io/component-base/version.gitVersion=vVERSION
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver" // kube-apiserver
	_ "k8s.io/kubernetes/cmd/kubectl"        // kubectl

	_ "k8s.io/kubernetes/cmd/kube-controller-manager" // kube-controller-manager
	_ "k8s.io/kubernetes/cmd/kube-proxy"              // kube-proxy
	_ "k8s.io/kubernetes/cmd/kube-scheduler"          // kube-scheduler
	_ "k8s.io/kubernetes/cmd/kubelet"                 // kubelet
)
