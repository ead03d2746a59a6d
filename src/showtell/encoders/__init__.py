"""Image encoders: ResNet, timm backbones and a small CNN, their weights and their features."""
