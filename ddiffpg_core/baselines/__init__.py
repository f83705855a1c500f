"""What DDiffPG is compared with, one file a method, on the same loop, environments, replay and evaluation."""
